"""All sounds that are trained on, in one tensor on one device."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Rate that streaming networks are trained at, in Hz: the hops of all of them are whole, and their
#: bins fit below half of it.
SAMPLE_RATE = 33_600
FULL_SCALE = 32767.0
#: Samples after the last clip, for the interpolation to read.
_MARGIN = 8


@dataclasses.dataclass(frozen=True)
class Sound:
    """What is known of a clip.

    Attributes:
        label: Its class.
        domain: As in the corpus.
        weight: How often it is drawn beside others of its class.
        bandwidth: In Hz, of a narrow-band source; 0 for all others.
        together: What stems of one song, aligned to the sample, have in common; else empty.
    """

    label: str
    domain: str
    weight: float = 1.0
    bandwidth: float = 0.0
    together: str = ""


@dataclasses.dataclass(eq=False)
class SoundBank:
    """The sounds, one after another.

    Attributes:
        audio: (samples,) int16 at :data:`SAMPLE_RATE`.
        offsets: (clips,) int64: where each starts.
        lengths: (clips,) int64: in samples.
        sounds: What each is.
    """

    audio: Tensor
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sounds: list[Sound]

    @classmethod
    def of(
        cls, clips: Sequence[NDArray[np.int16]], sounds: Sequence[Sound], device: torch.device
    ) -> SoundBank:
        """Put clips, (samples,) int16 each, on a device.

        Raises:
            ValueError: There is no clip.
        """
        if not clips:
            raise ValueError("there is no sound to train on: check the corpus")
        lengths = np.array([len(clip) for clip in clips], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        audio = np.concatenate([*clips, np.zeros(_MARGIN, np.int16)])
        return cls(torch.from_numpy(audio).to(device), offsets, lengths, list(sounds))

    @property
    def device(self) -> torch.device:
        """Where the sounds are."""
        return self.audio.device

    @property
    def minutes(self) -> float:
        """Length of all sounds together."""
        return float(self.lengths.sum()) / SAMPLE_RATE / 60
