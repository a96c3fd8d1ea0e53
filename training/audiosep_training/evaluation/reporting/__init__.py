"""From records to figures: the terminal, JSON, CSV and a picture.

Imports: audiosep_core.commands, audiosep_core.files, audiosep_training.evaluation.measures,
audiosep_training.evaluation.running, audiosep_training.evaluation.sets; click, numpy, rich.
"""
