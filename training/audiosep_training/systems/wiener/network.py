"""The Wiener filter in the form of the other systems."""

from __future__ import annotations

import torch
from torch import Tensor

from audiosep_training.systems.base import System
from audiosep_training.systems.wiener.filter import WienerFilter


class Wiener(System):
    """:class:`WienerFilter` at the rate of Voicebank-DEMAND; there is nothing to train."""

    sample_rate = 16_000

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        audio = mixture.detach().cpu().float().numpy()
        return torch.from_numpy(WienerFilter().separate(audio, self.sample_rate)).to(mixture)
