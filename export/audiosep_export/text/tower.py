"""Writes a text tower, a PyTorch module with its ONNX graph and tokenizer, once it is proven."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tokenizers
import torch
import transformers
from torch import Tensor, nn

from audiosep_core.errors import AudioSepError
from audiosep_export.text.files import write_text_encoder
from audiosep_export.text.text_graph import Weights

#: Greatest cosine distance between graph and PyTorch that is acceptable.
MAX_DISTANCE = 1e-5
# Batches and lengths that the two are compared at, the longest query's included.
_SHAPES = ((1, 3), (1, 17), (2, 8), (3, 40), (1, 77))


class TextTowerError(AudioSepError):
    """An exported text encoder does not compute what its PyTorch original does."""


@dataclasses.dataclass(frozen=True)
class TextTower:
    """A text encoder in both forms.

    Attributes:
        module: The original from ``transformers``; its output has ``text_embeds``.
        model: The graph made of the same weights.
        end: Number of the token that ends a text.
        notice: Where the weights come from and how they were changed.
    """

    module: transformers.PreTrainedModel
    model: onnx.ModelProto
    end: int
    notice: str


def arrays(module: nn.Module, remedy: str) -> Weights:
    """A module's weights as the graph reads them."""
    return Weights({name: value.numpy() for name, value in module.state_dict().items()}, remedy)


def write_text_tower(tower: TextTower, tokenizer: tokenizers.Tokenizer, output: Path) -> float:
    """Write ``text_encoder.onnx``, ``tokenizer.json`` and ``TEXT_ENCODER_LICENSE``.

    Args:
        tower: What to write.
        tokenizer: The tower's own.
        output: Folder to write to; created if it does not exist, untouched if the graph fails.

    Returns:
        The greatest cosine distance between the graph and the PyTorch module.

    Raises:
        TextTowerError: That distance is above ``MAX_DISTANCE``.
    """
    onnx.checker.check_model(tower.model, full_check=True)
    distance = 0.0

    def check(graph: Path) -> None:
        nonlocal distance
        distance = cosine_distance(tower, graph)
        # Written so that NaN fails too.
        if not distance <= MAX_DISTANCE:
            raise TextTowerError(
                f"the exported text encoder differs from PyTorch by a cosine distance of "
                f"{distance:.1e}, more than {MAX_DISTANCE:g}; it is not written"
            )

    write_text_encoder(output, tower.model, tokenizer, tower.notice, check)
    return distance


def cosine_distance(
    tower: TextTower, graph: Path, shapes: tuple[tuple[int, int], ...] = _SHAPES
) -> float:
    """The greatest cosine distance between a graph and its PyTorch original.

    Random tokens in batches of several sizes and lengths, the last of each batch padded.

    Args:
        tower: The original.
        graph: ``text_encoder.onnx``.
        shapes: Batches and lengths in tokens.
    """
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    greatest = 0.0
    for batch, tokens in shapes:
        ids, mask = _random_texts(rng, batch, tokens, tower)
        (embedding,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        expected = _reference(tower.module, ids, mask)
        distances = 1 - np.sum(embedding.astype(np.float64) * expected, axis=1)
        greatest = max(greatest, float(np.abs(distances).max()))
    return greatest


def _random_texts(
    rng: np.random.Generator, batch: int, tokens: int, tower: TextTower
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokens and attention mask, [batch, tokens]; all texts but the first may end early."""
    ids = rng.integers(0, tower.module.config.vocab_size, (batch, tokens))
    lengths = rng.integers(2, tokens + 1, batch)
    lengths[0] = tokens
    ids[np.arange(batch), lengths - 1] = tower.end
    mask = np.arange(tokens) < lengths[:, None]
    return np.where(mask, ids, 0), mask.astype(np.int64)


@torch.no_grad()
def _reference(
    module: transformers.PreTrainedModel, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """PyTorch's embeddings of unit length, text by text without padding."""
    rows: list[Tensor] = []
    for text, kept in zip(ids, mask.astype(bool), strict=True):
        tokens = torch.from_numpy(text[kept])[None]
        output: Any = module(input_ids=tokens, attention_mask=torch.ones_like(tokens))
        rows.append(nn.functional.normalize(output.text_embeds.double(), dim=1)[0])
    return torch.stack(rows).numpy()
