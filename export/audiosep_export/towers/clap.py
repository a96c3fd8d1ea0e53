"""CLAP's audio branch as ``audio_encoder.onnx``: queries by sound for models that CLAP asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from audiosep_core.model.bundle import AUDIO_ENCODER
from audiosep_core.query.examples import SPECTRUM
from audiosep_export.towers.clap_audio import ClapAudio
from audiosep_export.towers.tower import write_tower


def export_clap_audio(weights: Mapping[str, Tensor], output: Path) -> float:
    """Write the audio branch into a folder.

    The graph takes ``power`` (float32, [1, 1001, 513]), the power spectrogram of ten seconds that
    :mod:`audiosep_core.query.examples` computes, and gives ``embedding`` ([1, size]).

    Args:
        weights: As :func:`audiosep_export.towers.clap_audio.audio_weights` finds them.
        output: Folder to write to.

    Returns:
        The greatest cosine distance between graph and PyTorch.

    Raises:
        CheckpointError: They are not CLAP's.
        TowerError: The graph does not compute what PyTorch does.
    """
    generator = torch.Generator().manual_seed(0)
    # Loud and quiet, with and without silence at the end.
    powers = [scale * torch.rand(1, *SPECTRUM, generator=generator) for scale in (1.0, 1e3, 1e-6)]
    powers[1][:, 500:] = 0
    return write_tower(_Heard(ClapAudio(weights)), "power", powers, output / AUDIO_ENCODER, False)


class _Heard(nn.Module):
    def __init__(self, branch: ClapAudio) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, power: Tensor) -> Tensor:
        """(1, frames, bins) to (1, size) of unit length."""
        return self.branch.embed(self.branch.decibels(power))
