"""Captions as LASS-Net reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_core.query.text_encoder import MAX_TOKENS

_FIRST, _PADDING = "[CLS]", "[PAD]"


class Tokens:
    """BERT's word pieces in lower case: "[CLS]" in front, and no "[SEP]" at the end.

    Args:
        vocabulary: All word pieces in their order.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        numbers = {piece: number for number, piece in enumerate(vocabulary)}
        self._tokenizer = BertWordPieceTokenizer(vocab=numbers, lowercase=True)
        self._first, self._padding = numbers[_FIRST], numbers[_PADDING]

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token numbers and attention mask, both (captions, longest) int64."""
        encoded = self._tokenizer.encode_batch(list(captions), add_special_tokens=False)
        rows = [[self._first, *item.ids][:MAX_TOKENS] for item in encoded]
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._padding)
        seen = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            seen[number, : len(row)] = 1
        return ids, seen


def read_word_pieces(folder: Path) -> list[str]:
    """The word pieces of ``vocab.txt``.

    Raises:
        CheckpointError: It is not there, or not BERT's.
    """
    path = folder / "vocab.txt"
    try:
        pieces = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        pieces = []
    if _FIRST not in pieces or _PADDING not in pieces:
        raise CheckpointError(
            f"{path} is missing or no vocabulary of BERT; give the folder of BERT-mini, with its "
            "vocab.txt"
        )
    return pieces
