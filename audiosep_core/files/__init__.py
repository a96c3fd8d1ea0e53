"""Sound files and pictures, and runs over many files: plan, separate, keep a journal.

* ``kinds``: what a file is, by its content
* ``chunks``, ``mpeg``, ``ogg``, ``flac``: what lies where in files of those kinds
* ``inspection``, ``view``, ``ffmpeg``: what a decoder is given of them
* ``tags``, ``side_data``: what files hold beside sound
* ``audio_reader``, ``audio_writer``, ``rounding``, ``bit_rate``, ``signals``: sound in and out
* ``catalogue``, ``pipes``, ``job``, ``runs``, ``journal``, ``cluster``: many files
* ``items``: mixtures with a target, to measure separators with
* ``picture``, ``spectrogram``, ``stem_pictures``: pictures

Imports: audiosep_core.model, audiosep_core.runtime, audiosep_core.separator,
audiosep_core.settings, audiosep_core.signal; matplotlib, numpy, ray, scipy, soundfile,
soxr.
"""
