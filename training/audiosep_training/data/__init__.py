"""From clips to batches: lists, shards or a corpus; cut, mixed, and the same on every run.

Imports: audiosep_core.files, audiosep_core.query, audiosep_core.video, audiosep_training.config,
audiosep_training.corpus, audiosep_training.datasets, audiosep_training.messages,
audiosep_training.mixer, audiosep_training.workers; braceexpand, lightning, numpy, soundfile, soxr,
torch, webdataset.
"""
