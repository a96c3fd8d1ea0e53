"""LASS-Net (Liu et al. 2022).

Imports: audiosep_core.model, audiosep_core.query, audiosep_training.config,
audiosep_training.data, audiosep_training.query_encoders, audiosep_training.systems; tokenizers,
torch, transformers.
"""
