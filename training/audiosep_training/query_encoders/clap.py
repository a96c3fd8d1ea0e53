"""CLAP: the encoder of the released AudioSep (Liu et al. 2023, section III-A)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiosep_core.model.bundle import sha256
from audiosep_core.model.checkpoint import read_checkpoint, text_weights
from audiosep_export.text.bpe_tokenizer import roberta_tokenizer
from audiosep_export.text.clap import HEADS, clap_module
from audiosep_export.towers.clap_audio import RATE, ClapAudio, audio_weights
from audiosep_training.query_encoders.base import Embeddings, FrozenEncoder
from audiosep_training.query_encoders.resampling import resample

_AT_A_TIME = 64


class ClapEncoder(FrozenEncoder):
    """Texts by CLAP's text branch, sounds by its audio branch; 512 values.

    Both branches run without laion-clap.

    Args:
        checkpoint: laion-clap's checkpoint, or one of the released AudioSep's.
        vocabulary: Folder with RoBERTa's ``vocab.json`` and ``merges.txt``.
        sounds: Whether sounds will be embedded; else the audio branch is read when the first is.
        heads: Attention heads of the text branch.

    Raises:
        CheckpointError: The files are not CLAP's and RoBERTa's.
    """

    def __init__(
        self, checkpoint: Path, vocabulary: Path, sounds: bool = False, heads: int = HEADS
    ) -> None:
        self._checkpoint = checkpoint
        self._audio_branch: ClapAudio | None = None
        self._module = clap_module(text_weights(read_checkpoint(checkpoint)), heads)
        self._tokenizer = roberta_tokenizer(vocabulary / "vocab.json", vocabulary / "merges.txt")
        super().__init__(f"clap {sha256(checkpoint)}", self._module.config.projection_dim)
        if sounds:
            self._open_audio_branch()

    @torch.no_grad()
    def _encode_texts(self, texts: list[str]) -> Embeddings:
        module: Any = self._module.to(self.device)  # type: ignore[arg-type]
        parts = []
        for start in range(0, len(texts), _AT_A_TIME):
            encoded = self._tokenizer.encode_batch(texts[start : start + _AT_A_TIME])
            longest = max(len(item.ids) for item in encoded)
            # RoBERTa's padding is token 1; the mask leaves it out of all attention.
            ids = torch.ones(len(encoded), longest, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, item in enumerate(encoded):
                ids[row, : len(item.ids)] = torch.tensor(item.ids)
                mask[row, : len(item.ids)] = 1
            output = module(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
            parts.append(F.normalize(output.text_embeds, dim=1).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def embed_sounds(self, audio: Tensor, sample_rate: int) -> Tensor:
        """(sounds, samples) float32 to (sounds, size), on the device of the sounds."""
        branch = self._open_audio_branch().to(audio.device)
        # Resampled where it is: a step would wait for the way to the CPU and back.
        return branch(resample(audio, sample_rate, RATE))

    def _open_audio_branch(self) -> ClapAudio:
        if self._audio_branch is None:
            self._audio_branch = ClapAudio(audio_weights(read_checkpoint(self._checkpoint)))
        return self._audio_branch
