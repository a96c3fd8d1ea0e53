"""From a checkpoint to a bundle that the runtime reads."""

# Before any module of this package imports ONNX Runtime, which is then told to report nothing.
import audiosep_core as audiosep_core
