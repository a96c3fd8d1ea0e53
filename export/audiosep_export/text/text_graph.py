"""Transformer text encoders written as ONNX graphs.

Every graph built here takes ``input_ids`` and
``attention_mask`` (int64, [batch, tokens]) and gives ``embedding`` (float32, [batch, size]) of
unit length. Weights are stored small and widened to float32 before use, so activations keep full
precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET, Graph

Array = npt.NDArray[np.float32]

# Added to the score of a position that must not be attended to.
_BLOCKED = -1e9


class Weights:
    """Named arrays of a source model.

    Args:
        arrays: Name to array.
        remedy: What to do where one is missing; the error ends with it.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], remedy: str) -> None:
        self._arrays = arrays
        self._remedy = remedy

    def array(self, name: str) -> Array:
        """An array in float32.

        Raises:
            ValueError: There is none of that name.
        """
        try:
            return np.ascontiguousarray(self._arrays[name], np.float32)
        except KeyError:
            raise ValueError(
                f"the text encoder's weights hold no {name!r}; {self._remedy}"
            ) from None

    def pair(self, name: str) -> tuple[Array, Array]:
        """Weight and bias of a layer."""
        return self.array(f"{name}.weight"), self.array(f"{name}.bias")


class TextGraph(Graph):
    """A text encoder under construction; methods return a value's name.

    Matrices and tables are stored in half precision, whose rounding moves an embedding by less
    than 1e-6 of cosine distance.

    Args:
        weights: What the graph is made of.
        epsilon: Of every layer normalisation.
    """

    def __init__(self, weights: Weights, epsilon: float) -> None:
        super().__init__()
        self.weights = weights
        self.epsilon = epsilon

    def to_float(self, values: str) -> str:
        """``values`` in float32."""
        return self.node("Cast", values, to=TensorProto.FLOAT)

    def rows(self, name: str, table: Array, indices: str) -> str:
        """Rows of ``table`` [n, size]; looked up before they are widened, so it stays small."""
        return self.to_float(self.node("Gather", self.constant(name, _half(name, table)), indices))

    def matrix(self, name: str, weight: Array) -> str:
        """The transpose of ``weight`` [out, in] in float32."""
        half = np.ascontiguousarray(_half(name, weight).T)
        return self.to_float(self.constant(f"{name}.weight", half))

    def product(self, values: str, name: str, weight: Array) -> str:
        """``values`` times the transpose of ``weight`` [out, in]."""
        return self.node("MatMul", values, self.matrix(name, weight))

    def linear(self, values: str, name: str) -> str:
        """The linear layer ``name``."""
        weight, bias = self.weights.pair(name)
        product = self.product(values, name, weight)
        return self.node("Add", product, self.constant(f"{name}.bias", bias))

    def layer_norm(self, values: str, name: str) -> str:
        """The layer normalisation ``name``."""
        weight, bias = self.weights.pair(name)
        constants = self.constant(f"{name}.gain", weight), self.constant(f"{name}.bias", bias)
        return self.node("LayerNormalization", values, *constants, axis=-1, epsilon=self.epsilon)

    def token_count(self) -> str:
        """Length of the batch in tokens, int64 [1]."""
        return self.node("Shape", "input_ids", start=1, end=2)

    def blocked_padding(self, mask: str) -> str:
        """What hides padding from every position, to add to scores: [batch, 1, 1, tokens].

        Args:
            mask: ``attention_mask`` as float32.
        """
        hidden = self.node("Sub", self.number(1.0), mask)
        return self.node(
            "Unsqueeze", self.node("Mul", hidden, self.number(_BLOCKED)), self.integers(1, 2)
        )

    def blocked_future(self) -> str:
        """What hides later tokens from earlier ones, to add to scores: [tokens, tokens]."""
        count = self.node("Squeeze", self.token_count())
        zero, one = self.constant("zero", np.int64(0)), self.constant("one", np.int64(1))
        places = self.node("Range", zero, count, one)
        later = self.node("Less", self.node("Unsqueeze", places, self.integers(1)), places)
        return self.node("Mul", self.to_float(later), self.number(_BLOCKED))

    def attention(self, hidden: str, names: Sequence[str], heads: int, blocked: str) -> str:
        """Multi-head attention of ``hidden`` [batch, tokens, size] to itself.

        Args:
            hidden: What attends.
            names: Linear layers for queries, keys, values and the output.
            heads: Number of heads.
            blocked: Added to the scores; broadcast to [batch, heads, tokens, tokens].
        """
        size = len(self.weights.array(f"{names[0]}.bias")) // heads

        def split(name: str, order: Sequence[int]) -> str:
            apart = self.node(
                "Reshape", self.linear(hidden, name), self.integers(0, 0, heads, size)
            )
            return self.node("Transpose", apart, perm=order)

        queries = split(names[0], (0, 2, 1, 3))
        keys = split(names[1], (0, 2, 3, 1))
        scores = self.node("Div", self.node("MatMul", queries, keys), self.number(size**0.5))
        shares = self.node("Softmax", self.node("Add", scores, blocked), axis=-1)
        mixed = self.node("MatMul", shares, split(names[2], (0, 2, 1, 3)))
        joined = self.node("Transpose", mixed, perm=(0, 2, 1, 3))
        joined = self.node("Reshape", joined, self.integers(0, 0, heads * size))
        return self.linear(joined, names[3])

    def bert_layer(self, hidden: str, name: str, heads: int, blocked: str) -> str:
        """A BERT layer: attention and feed-forward, each added to its input and normalised."""
        parts = ("self.query", "self.key", "self.value", "output.dense")
        names = [f"{name}.attention.{part}" for part in parts]
        attended = self.node("Add", self.attention(hidden, names, heads, blocked), hidden)
        attended = self.layer_norm(attended, f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(attended, f"{name}.intermediate.dense"))
        outer = self.node("Add", self.linear(inner, f"{name}.output.dense"), attended)
        return self.layer_norm(outer, f"{name}.output.LayerNorm")

    def finish(self, pooled: str, size: int) -> onnx.ModelProto:
        """The model that scales ``pooled`` [batch, size] to unit length."""
        self.node("LpNormalization", pooled, output="embedding", axis=-1, p=2)

        def values(name: str, kind: int, *shape: str | int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, list(shape))

        return self.model(
            "sentence_encoder",
            [
                values("input_ids", TensorProto.INT64, "batch", "tokens"),
                values("attention_mask", TensorProto.INT64, "batch", "tokens"),
            ],
            [values("embedding", TensorProto.FLOAT, "batch", size)],
            OPSET,
            IR_VERSION,
        )


def _half(name: str, values: Array) -> npt.NDArray[np.float16]:
    largest = np.finfo(np.float16).max
    # Written so that NaN fails too.
    if not np.abs(values).max() <= largest:
        raise CheckpointError(
            f"the text encoder's {name!r} holds NaN or values beyond {largest}; give intact weights"
        )
    return values.astype(np.float16)
