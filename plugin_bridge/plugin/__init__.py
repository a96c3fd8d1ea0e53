"""The native plug-in from Python: installed where hosts look, and loaded with a prompt.

Imports: audiosep_core.errors, audiosep_core.extras; pedalboard.
"""
