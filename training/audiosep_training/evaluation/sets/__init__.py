"""Evaluation sets: where the items of a benchmark come from, and how sets are built.

Imports: audiosep_core.files, audiosep_core.model, audiosep_core.query.vocabulary,
audiosep_training.corpus, audiosep_training.data, audiosep_training.datasets,
audiosep_training.systems; numpy, scipy, soundfile.
"""
