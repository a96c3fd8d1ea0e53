"""Streams of sound as arithmetic: buffers, STFT, resampling, windows, masks.

Blocks of a mixture in, blocks of its stems out; which network gives the masks is not known here.

Imports: audiosep_core.model; numpy, scipy, soxr.
"""
