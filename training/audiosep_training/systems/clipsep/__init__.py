"""CLIPSep and CLIPSep-NIT (Dong et al. 2023).

Imports: audiosep_core.model, audiosep_training.config, audiosep_training.data,
audiosep_training.query_encoders, audiosep_training.systems; torch.
"""
