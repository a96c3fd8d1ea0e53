"""A comparison system as every separator is called: any rate, any number of channels, a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from audiosep_core.errors import DeviceError
from audiosep_core.runtime.device import Device
from audiosep_training.systems.loading import open_system


class SystemSeparator:
    """Separates with a checkpoint.

    Args:
        name: Of the system, where the checkpoint does not tell.
        path: The checkpoint.
        options: What it is asked with.
        device: "auto" takes a GPU where there is one.

    Raises:
        CheckpointError, UsageError: See :func:`audiosep_training.systems.loading.open_system`.
        DeviceError: There is no GPU.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        options: Mapping[str, str] | None = None,
        device: Device = "cpu",
    ) -> None:
        system, self._ask = open_system(name, path, options)
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise DeviceError("PyTorch sees no GPU here; take --device cpu")
        self._device = torch.device("cuda" if there and device != "cpu" else "cpu")
        self._system = system.to(self._device)

    @torch.no_grad()
    def separate(
        self, mixture: NDArray[np.float32], sample_rate: int, query: str
    ) -> NDArray[np.float32]:
        """The part of a mixture that a query asks for, every channel for itself.

        Args:
            mixture: (channels, samples) float32.
            sample_rate: In Hz; the system works at its own.
            query: Text; systems that enhance speech do not hear it.
        """
        rate = self._system.sample_rate
        own = _resample(mixture, sample_rate, rate)
        audio = torch.from_numpy(np.ascontiguousarray(own, np.float32)).to(self._device)
        asked = self._ask(query)
        if asked is not None:
            asked = asked.to(self._device).expand(len(audio), -1)
        target = self._system.separate(audio, asked).cpu().numpy()
        back = _resample(target, rate, sample_rate)[:, : mixture.shape[1]]
        return np.pad(back, ((0, 0), (0, mixture.shape[1] - back.shape[1])))


def _resample(audio: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    if rate == wanted or not audio.size:
        return audio
    return np.asarray(soxr.resample(audio.T, rate, wanted).T, np.float32)
