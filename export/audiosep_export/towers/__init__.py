"""Towers that hear or see a query: CLAP's audio branch and CLIP's image tower, as ONNX graphs.

Imports: audiosep_core.model, audiosep_core.query,
audiosep_export.text; numpy, onnx, onnxruntime, torch, transformers.
"""
