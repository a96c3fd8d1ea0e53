"""From a query to the embedding that conditions the network: packs, cache, text encoder, towers.

ONNX Runtime runs the text encoder here, and the network in ``runtime``; nothing else of the core
or the bridge imports it.

Imports: audiosep_core.model, audiosep_core.video; numpy, onnxruntime, safetensors, soundfile,
soxr, tokenizers.
"""
