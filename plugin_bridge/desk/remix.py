"""Stems to one sound at levels of one's own, without separating again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.audio_writer import AudioWriter, writing

_BLOCK_FRAMES = 1 << 17


def levels(gains_db: Sequence[float], mutes: Sequence[bool], solos: Sequence[bool]) -> list[float]:
    """Factors of stems: a mute silences, a solo silences all that are not solo."""
    any_solo = any(solos)
    return [
        0.0 if mute or (any_solo and not solo) else 10 ** (gain / 20)
        for gain, mute, solo in zip(gains_db, mutes, solos, strict=True)
    ]


def remix(players: Sequence[Path], factors: Sequence[float]) -> Path:
    """Write the weighted sum of WAV files of one form beside the first, and return where it is.

    It takes the place of the one that was there before, so that a level which is moved to and fro
    fills no disk.

    Raises:
        AudioFileError: One of them is gone, or it cannot be written.
        OSError: There is no room for it.
    """
    folder = players[0].parent
    before = list(folder.glob("remix-*.wav"))
    # A browser keeps what it knows by a name.
    with tempfile.NamedTemporaryFile(
        prefix="remix-", suffix=".wav", dir=folder, delete=False
    ) as file:
        target = Path(file.name)
    with ExitStack() as stack:
        sources = [stack.enter_context(AudioReader(path)) for path in players]
        writer = AudioWriter(target, sources[0].sample_rate, sources[0].channels, "WAV", "PCM_16")
        stack.enter_context(writing([writer]))
        for blocks in zip(*(source.blocks(_BLOCK_FRAMES) for source in sources), strict=True):
            parts = [factor * block for factor, block in zip(factors, blocks, strict=True)]
            writer.write(sum(parts[1:], parts[0]))
    for path in before:
        path.unlink(missing_ok=True)
    return target
