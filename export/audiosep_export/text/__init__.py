"""Text encoders as ONNX graphs with their tokenizers: all-MiniLM, CLAP's, CLIP's.

Imports: audiosep_core.model, audiosep_core.query,
audiosep_export.graphs; numpy, onnx, onnxruntime, safetensors, tokenizers, torch, transformers.
"""
