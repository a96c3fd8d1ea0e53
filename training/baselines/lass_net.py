"""LASS-Net (Liu et al. 2022): BERT, a residual U-Net and a magnitude mask, as trained here.

``audiosep train lass-net`` makes its checkpoint. Its U-Net is AudioSep's, which grew from it:
the rotation of the phase is held at none, and FiLM shifts without scaling.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from audiosep_core.checkpoint import CheckpointError, load_network, read_checkpoint
from audiosep_core.config import PADDING
from audiosep_core.network import SeparatorNetwork
from training.query_encoders.bert import Bert

_PREFIX = "query."


class LassNet:
    """A :class:`training.baselines.Baseline`.

    Args:
        checkpoint: ``last.ckpt`` of a training.
        bert: Folder of the BERT that it started from.

    Raises:
        CheckpointError: One of them cannot be read, or they do not fit each other.
    """

    def __init__(self, checkpoint: Path, bert: Path) -> None:
        self._net: SeparatorNetwork = load_network(checkpoint)
        self._bert = Bert(bert)
        state = read_checkpoint(checkpoint)["state_dict"]
        tuned = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
        if tuned:
            try:
                self._bert.load_state_dict(tuned)
            except RuntimeError as error:
                raise CheckpointError(
                    f"{bert} is not the BERT that {checkpoint} was trained with "
                    f"({str(error).splitlines()[1].strip()})"
                ) from None
        self._bert.eval()

    @torch.no_grad()
    def separate(
        self, mixture: NDArray[np.float32], sample_rate: int, query: str
    ) -> NDArray[np.float32]:
        """The part of a mixture that a query asks for; the mask is common to all channels.

        Args:
            mixture: (channels, samples) float32.
            sample_rate: In Hz; the network works at its own.
            query: Text.
        """
        samples = mixture.shape[1]
        rate = self._net.config.sample_rate
        resampled = soxr.resample(mixture.T, sample_rate, rate).T if samples else mixture
        audio = torch.from_numpy(np.ascontiguousarray(resampled, np.float32))
        # The shortest signal whose edges can be reflected.
        audio = F.pad(audio, (0, max(0, self._net.config.window - audio.shape[-1])))
        condition = self._bert([query])

        def common_mask(magnitude: Tensor) -> Tensor:
            level = magnitude.square().mean(0, keepdim=True).sqrt()
            beyond = magnitude[:1] == PADDING
            mask = self._net.mask(level.masked_fill(beyond, PADDING), condition)
            return mask.expand(len(magnitude), -1, -1, -1)

        target = self._net.render(audio[:, None], common_mask)[:, 0, : resampled.shape[1]]
        back = soxr.resample(target.numpy().T, rate, sample_rate).T if samples else mixture
        fitted = np.zeros_like(mixture)
        kept = min(samples, back.shape[1])
        fitted[:, :kept] = back[:, :kept]
        return fitted
