"""The picture beside the stems of a file: its spectrogram, and those of the stems."""

from __future__ import annotations

import dataclasses

from audiosep_core.errors import AudioFileError, AudioPathError, AudioSepError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.catalogue import Plan
from audiosep_core.files.job import Outcome
from audiosep_core.files.spectrogram import (
    draw_sheet,
    file_spectrogram,
    reader_spectrogram,
    save_figure,
)

PICTURE = "spectrograms.png"
MIXTURE = "mixture"


def refuse_pictures(planned: Plan) -> None:
    """Move jobs whose picture exists to those that are refused."""
    for job in list(planned.jobs):
        path = job.folder / PICTURE
        if path.exists():
            planned.jobs.remove(job)
            planned.refused[job] = AudioPathError(
                f"{path} exists; give --overwrite to replace it, or leave --picture out"
            )


def with_picture(outcome: Outcome, *, partial: bool, overwrite: bool) -> Outcome:
    """Draw what became of a file, if it has stems; an outcome of an earlier run keeps its picture.

    Args:
        outcome: What became of it.
        partial: Whether it may be damaged.
        overwrite: Draw it in any case.

    Returns:
        The outcome; with an error if the picture could not be drawn, but for which it is done.
    """
    job = outcome.job
    path = job.folder / PICTURE
    if not outcome.stems or (outcome.resumed and not overwrite and path.exists()):
        return outcome
    try:
        with AudioReader(job.path, partial=partial, piped_from=job.piped_from) as reader:
            drawn = [(MIXTURE, reader_spectrogram(reader))]
        drawn += [(stem.query, file_spectrogram(stem.path)) for stem in outcome.stems]
        save_figure(path, draw_sheet(drawn))
    except OSError as error:
        reason = error.strerror or error
        refused = AudioFileError(f"{path} cannot be written: {reason}; make room, or try again")
        return dataclasses.replace(outcome, error=refused)
    except AudioSepError as error:
        return dataclasses.replace(outcome, error=error)
    return outcome
