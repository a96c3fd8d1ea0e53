"""A training from its first step to its last: loss, schedule, checkpoints, logs.

Imports: audiosep_core.commands, audiosep_core.files, audiosep_core.model, audiosep_core.signal,
audiosep_training.config, audiosep_training.data, audiosep_training.messages,
audiosep_training.mixer, audiosep_training.query_encoders, audiosep_training.systems; lightning,
numpy, torch, torchmetrics.
"""
