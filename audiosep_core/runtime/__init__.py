"""The network in ONNX Runtime: sessions, calls in prepared buffers, devices and their health.

Imports: audiosep_core.model; numpy, onnxruntime.
"""
