"""What a network is: its configuration, its bundle on disk, released weights, itself in PyTorch.

PyTorch is used nowhere else in the core and nowhere in the bridge, and here only where a network
is built or loaded.

Imports: huggingface_hub, numpy, platformdirs, safetensors, torch.
"""
