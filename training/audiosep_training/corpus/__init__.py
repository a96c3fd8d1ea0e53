"""A training corpus made of the openly licensed sounds that Debian packages carry.

Imports: audiosep_training.toml; numpy, scipy, soundfile, soxr, zstandard.
"""
