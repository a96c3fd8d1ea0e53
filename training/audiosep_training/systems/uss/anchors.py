"""Anchor segments (Kong et al. 2023): two seconds in which a class is heard most surely.

A weakly labelled clip says that a class is in it, not when. A detector of sound events finds the
two seconds that are worth separating, and mixtures are made of such segments.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audiosep_training.data.classes import CLASSES
from audiosep_training.systems.uss.panns import (
    HOP,
    SAMPLE_RATE,
    Cnn14DecisionLevelMax,
    load_panns,
)

#: Length of a segment.
SEGMENT_SAMPLES = 2 * SAMPLE_RATE
_HALF = SEGMENT_SAMPLES // 2 // HOP
_SMALLEST_RATIO, _LARGEST_RATIO = 0.02, 50.0
_FLOOR = 1e-10


class AnchorFinder:
    """Cuts out of a sound the two seconds in which a class is heard most surely.

    Args:
        checkpoint: Of PANNs' Cnn14_DecisionLevelMax.

    Raises:
        CheckpointError: It is none.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._net = load_panns(Cnn14DecisionLevelMax, checkpoint)

    @torch.no_grad()
    def segment(self, audio: NDArray[np.float32], label: str) -> NDArray[np.float32]:
        """(samples,) at 32 kHz, followed by silence if it is shorter, to (SEGMENT_SAMPLES,).

        Args:
            audio: The sound.
            label: One of AudioSet's classes; of another text the surest class counts.
        """
        clip = torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None]
        clip = F.pad(clip, (0, max(0, SEGMENT_SAMPLES + HOP - clip.shape[1])))
        events = self._net(clip)
        number = CLASSES.get(label)
        surest = events.probabilities.argmax(1)
        wanted = surest if number is None else torch.full_like(surest, number)
        start = anchor_starts(events.framewise, wanted).clamp_max(clip.shape[1] - SEGMENT_SAMPLES)
        return cut_segments(clip, start)[0].numpy()


def anchor_starts(framewise: Tensor, classes: Tensor) -> Tensor:
    """Where a class is heard most surely.

    Args:
        framewise: (batch, frames, classes) probabilities at 100 frames a second, of clips of two
            seconds at least.
        classes: (batch,) the class that is wanted of each clip.

    Returns:
        (batch,) int64: first sample of a segment of :data:`SEGMENT_SAMPLES` at 32 kHz.
    """
    frames = framewise.shape[1]
    wanted = framewise.gather(2, classes[:, None, None].expand(-1, frames, 1))[:, None, :, 0]
    padded = F.pad(wanted, (_HALF, _HALF), mode="replicate")
    box = framewise.new_full((1, 1, 2 * _HALF + 1), 1 / (2 * _HALF + 1))
    smooth = F.conv1d(padded, box)[:, 0]
    # The last frame begins where the clip ends.
    anchor = smooth.argmax(1).clamp(_HALF, frames - 1 - _HALF)
    return (anchor - _HALF) * HOP


def cut_segments(clips: Tensor, starts: Tensor) -> Tensor:
    """(batch, samples) and (batch,) to (batch, SEGMENT_SAMPLES)."""
    places = starts[:, None] + torch.arange(SEGMENT_SAMPLES, device=clips.device)
    return clips.gather(1, places)


def mix_with_next(segments: Tensor) -> Tensor:
    """Add to every segment the next one of the batch, at the same energy.

    Args:
        segments: (batch, samples), the targets.

    Returns:
        (batch, samples): mixtures; nothing keeps them below full scale.
    """
    others = segments.roll(-1, 0)
    energy = segments.square().mean(1).clamp_min(_FLOOR)
    ratio = (others.square().mean(1) / energy).sqrt().clamp(_SMALLEST_RATIO, _LARGEST_RATIO)
    return segments + others / ratio[:, None]
