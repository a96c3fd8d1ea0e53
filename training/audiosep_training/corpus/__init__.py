"""A training corpus made of the openly licensed sounds that Debian packages carry.

Imports: audiosep_training.toml, audiosep_training.workers; numpy, scipy, soundfile, soxr,
zstandard.
"""
