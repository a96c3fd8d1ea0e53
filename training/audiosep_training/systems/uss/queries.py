"""What USS asks with: the mean of PANNs' answer to examples of the sound that is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn import functional as F

from audiosep_core.files.audio_reader import AudioReader
from audiosep_training.systems.uss.anchors import SEGMENT_SAMPLES
from audiosep_training.systems.uss.panns import SAMPLE_RATE, Cnn14

_SILENCE = 0.02
_SILENCE_SAMPLES = SAMPLE_RATE // 10
_AT_A_TIME = 16
_BLOCK_FRAMES = 1 << 20


def condition_of(net: Cnn14, segments: Tensor, condition: str) -> Tensor:
    """Segments to conditions.

    Args:
        net: What tags and embeds; in evaluation mode it is frozen.
        segments: (batch, samples) at 32 kHz.
        condition: "embedding" or "probabilities".

    Returns:
        (batch, 2048) or (batch, 527).
    """
    tags = net(segments)
    return tags.embedding if condition == "embedding" else tags.probabilities


@torch.no_grad()
def class_query(net: Cnn14, sounds: Iterable[Tensor], condition: str = "embedding") -> Tensor:
    """The mean condition over all pieces of two seconds of a class's examples.

    Args:
        net: What tags and embeds, in evaluation mode.
        sounds: (samples,) each at 32 kHz; what is left over at a sound's end is padded with
            zeros, and counts where it is at least half a piece or all there is.
        condition: "embedding" or "probabilities".

    Returns:
        (2048,) or (527,).

    Raises:
        ValueError: There is no example.
    """
    total, count = None, 0
    for sound in sounds:
        pieces = split_pieces(sound)
        for start in range(0, len(pieces), _AT_A_TIME):
            part = pieces[start : start + _AT_A_TIME]
            rows = condition_of(net, part, condition).sum(0)
            total = rows if total is None else total + rows
        count += len(pieces)
    if total is None:
        raise ValueError("a query by examples needs one example at least")
    return total / count


def read_example(path: Path) -> Tensor:
    """A sound file as :func:`class_query` takes it: (samples,) at 32 kHz, all channels averaged.

    Raises:
        AudioFileError: It cannot be read.
    """
    with AudioReader(path) as reader:
        audio = np.concatenate(list(reader.blocks(_BLOCK_FRAMES)), -1).mean(0)
        rate = reader.sample_rate
    audio = soxr.resample(audio, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else audio
    return torch.from_numpy(np.ascontiguousarray(audio, np.float32))


def split_pieces(sound: Tensor) -> Tensor:
    """(samples,) to (pieces, SEGMENT_SAMPLES), as :func:`class_query` counts them."""
    samples = len(sound)
    if not samples:
        return sound.new_zeros(0, SEGMENT_SAMPLES)
    pieces = max(1, (samples + SEGMENT_SAMPLES // 2) // SEGMENT_SAMPLES)
    length = pieces * SEGMENT_SAMPLES
    return F.pad(sound, (0, length - samples)).reshape(pieces, -1)


def without_silence(sound: Tensor) -> Tensor:
    """What is left when tenths of a second that nowhere reach 0.02 are cut out.

    The released evaluation makes its query of Voicebank's clean speech so.

    Args:
        sound: (samples,) at 32 kHz.

    Returns:
        (samples that are left,).
    """
    windows = sound.split(_SILENCE_SAMPLES)
    loud = [window for window in windows if window.abs().max() >= _SILENCE]
    return torch.cat(loud) if loud else sound[:0]
