"""Universal source separation with weakly labelled data (Kong et al. 2023).

Imports: audiosep_core.files, audiosep_core.model, audiosep_training.config,
audiosep_training.data, audiosep_training.query_encoders, audiosep_training.systems; numpy, soxr,
torch, transformers.
"""
