"""ONNX graphs, written node by node: the separator, the Fourier transform, whole waveforms.

Imports: audiosep_core.model, audiosep_core.signal; numpy, onnx, onnxruntime, torch.
"""
