"""BERT, which LASS-Net asks by (Liu et al. 2022, section 2.1): the vector of its first token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from audiosep_core.bundle import sha256
from audiosep_core.checkpoint import CheckpointError
from audiosep_core.text import MAX_TOKENS
from training.query_encoders.base import Embeddings, QueryEncoder


class Bert(nn.Module):
    """Captions to (captions, size), trainable.

    The released inference writes ``[CLS]`` before every caption, which its tokenizer does once
    more; here it stands once.

    Args:
        folder: What ``save_pretrained`` of transformers writes, tokenizer included.

    Raises:
        CheckpointError: The folder holds no BERT.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            self.bert = transformers.BertModel.from_pretrained(str(folder), local_files_only=True)
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no BERT ({str(error).splitlines()[0]}); give a folder as "
                "transformers saves it"
            ) from None
        # What is read is the first token's own vector; the pooler would go without gradient.
        self.bert.pooler = None
        self.size: int = self.bert.config.hidden_size
        # transformers loads in evaluation mode, and Lightning leaves modes as they are.
        self.train()

    def forward(self, captions: Sequence[str]) -> Tensor:
        """(captions, size)."""
        tokens = self._tokenizer(
            list(captions),
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.bert.device)
        return self.bert(**tokens).last_hidden_state[:, 0]


class FrozenBert(QueryEncoder):
    """:class:`Bert` as it was published, remembered on disk."""

    def __init__(self, folder: Path) -> None:
        self._bert = Bert(folder).eval()
        weights = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.bin"))
        super().__init__(f"bert {' '.join(sha256(path) for path in weights)}", self._bert.size)

    @torch.no_grad()
    def _encode_texts(self, texts: list[str]) -> Embeddings:
        bert = self._bert.to(self.device)
        return np.stack([bert([text])[0].float().cpu().numpy() for text in texts])
