"""CLAP: the encoder of the released AudioSep (Liu et al. 2023, section III-A)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch.nn import functional as F

from audiosep_core.bundle import sha256
from audiosep_core.checkpoint import read_checkpoint, text_weights
from audiosep_core.errors import UsageError
from export.bpe_tokenizer import roberta_tokenizer
from export.clap_text import HEADS, clap_module
from training.query_encoders.base import Embeddings, QueryEncoder

_CLAP_RATE = 48_000
_AT_A_TIME = 64


class ClapEncoder(QueryEncoder):
    """Texts by CLAP's text branch, sounds by its audio branch; 512 values.

    The text branch runs without laion-clap. The audio branch is laion-clap's own, imported
    when the first sound is embedded.

    Args:
        checkpoint: laion-clap's checkpoint, or one of the released AudioSep's.
        vocabulary: Folder with RoBERTa's ``vocab.json`` and ``merges.txt``.
        sounds: Whether sounds will be embedded.
        heads: Attention heads of the text branch.

    Raises:
        UsageError: Sounds will be embedded, and laion-clap is not installed.
        CheckpointError: The files are not CLAP's and RoBERTa's.
    """

    def __init__(
        self, checkpoint: Path, vocabulary: Path, sounds: bool = False, heads: int = HEADS
    ) -> None:
        self._checkpoint = checkpoint
        self._audio_branch: Any = None
        self._module = clap_module(text_weights(read_checkpoint(checkpoint)), heads)
        self._tokenizer = roberta_tokenizer(vocabulary / "vocab.json", vocabulary / "merges.txt")
        super().__init__(f"clap {sha256(checkpoint)}", self._module.config.projection_dim)
        if sounds:
            self._load_audio_branch()

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
    def embed_sounds(self, audio: Embeddings, sample_rate: int) -> Embeddings:
        """(sounds, samples) float32 to (sounds, size)."""
        branch = self._load_audio_branch().to(self.device)
        resampled = soxr.resample(audio.T, sample_rate, _CLAP_RATE).T
        sounds = torch.from_numpy(np.ascontiguousarray(resampled, np.float32)).to(self.device)
        embedding = branch.get_audio_embedding_from_data(x=sounds, use_tensor=True)
        return F.normalize(embedding, dim=1).float().cpu().numpy()

    def _load_audio_branch(self) -> Any:
        if self._audio_branch is None:
            try:
                import laion_clap
            except Exception as error:  # it downloads tokenizers when imported
                raise UsageError(
                    f"queries by sound need laion-clap, which cannot be imported here ({error}); "
                    "install it with network access, or set query.text_ratio = 1"
                ) from None
            branch = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base")
            branch.load_ckpt(str(self._checkpoint), verbose=False)
            self._audio_branch = branch.eval()
        return self._audio_branch
