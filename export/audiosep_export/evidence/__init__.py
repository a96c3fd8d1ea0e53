"""What an export has to prove: that it computes what PyTorch computes, and on which sounds.

Imports: audiosep_core.demo, audiosep_core.files, audiosep_core.model, audiosep_core.runtime,
audiosep_core.signal, audiosep_export.graphs; numpy, onnx, onnxruntime, scipy, soxr, torch.
"""
