"""What can be measured of an estimate.

Imports: audiosep_core.files, audiosep_core.model, audiosep_core.query, audiosep_core.signal,
audiosep_training.evaluation.sets; numpy, pesq, pystoi, scipy.
"""
