"""Separation of live sound in this process: the engine, its modes and its latency.

Imports: audiosep_core.arrays, audiosep_core.model, audiosep_core.separator,
audiosep_core.settings, audiosep_core.signal; numpy.
"""
