"""SEGAN (Pascual et al. 2017) and SEGAN+.

Imports: audiosep_training.config, audiosep_training.data, audiosep_training.systems; torch.
"""
