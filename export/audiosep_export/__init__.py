"""From a checkpoint to a bundle that the runtime reads.

Imports: audiosep_core, audiosep_core.model, audiosep_core.query,
audiosep_core.signal, audiosep_export.evidence, audiosep_export.graphs; numpy, onnx, onnxruntime,
torch.
"""

# Before any module of this package imports ONNX Runtime, which is then told to report nothing.
import audiosep_core as audiosep_core
