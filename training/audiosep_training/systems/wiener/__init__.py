"""The Wiener filter, which needs no training.

Imports: audiosep_core.signal, audiosep_training.systems; numpy, torch.
"""
