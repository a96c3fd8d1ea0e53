"""Public corpora as they are distributed: their tables, and the sound files that these name.

Imports: audiosep_core.files, audiosep_core.video.
"""
