"""How hard lossy stems may be compressed: no harder than their input was."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from audiosep_core.files.audio_reader import AudioReader, is_lossy
from audiosep_core.files.signals import signals_wait

_EXCERPTS = 3
_EXCERPT_SECONDS = 4.0
_STEPS = 20


def fitting_compression(reader: AudioReader, format: str, subtype: str) -> float | None:
    """The hardest compression at which the input itself takes no fewer bits than it took.

    libsndfile has one scale, from 0 to 1, for all lossy types, and what a place on it costs
    depends on the sound. So parts of the input are encoded.

    Args:
        reader: The input, opened for this: where it stands afterwards is not defined.
        format: Container of the stems, as libsndfile names it.
        subtype: Their sample type.

    Returns:
        The compression level for libsndfile; None where there is none to choose.
    """
    if not is_lossy(subtype) or not (subtype.startswith("MPEG") or format == "OGG"):
        return None
    wanted = reader.bits_per_second
    if not wanted:
        return 0.0 if not reader.lossy else None
    length = int(_EXCERPT_SECONDS * reader.sample_rate)
    starts = np.linspace(0, max(0, reader.frames - length), _EXCERPTS).astype(int)
    excerpts = [reader.segment(int(start), length) for start in sorted(set(starts.tolist()))]
    audio = np.concatenate(excerpts, axis=1)
    least, most = 0, _STEPS
    # The greatest step that is still enough; the best quality if none is.
    while least < most:
        middle = (least + most + 1) // 2
        if _bits(reader, audio, format, subtype, middle / _STEPS) >= wanted:
            least = middle
        else:
            most = middle - 1
    return least / _STEPS


def _bits(
    reader: AudioReader, audio: np.ndarray, format: str, subtype: str, compression: float
) -> float:
    """The bit rate of some audio at a compression."""
    made = io.BytesIO()
    mode = "CONSTANT" if subtype.startswith("MPEG") else None
    with (
        signals_wait(),
        soundfile.SoundFile(
            made,
            "w",
            reader.sample_rate,
            reader.channels,
            subtype=subtype,
            format=format,
            compression_level=compression,
            bitrate_mode=mode,
        ) as file,
    ):
        file.write(audio.T)
    return len(made.getvalue()) * 8 * reader.sample_rate / audio.shape[-1]
