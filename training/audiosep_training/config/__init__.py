"""What is trained on what, and how: the description of a training, and those that ship.

Imports: audiosep_core.model, audiosep_training.toml.
"""
