"""From a written query to the embedding that conditions the separator, without PyTorch."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audiosep_core.query.text import query_key

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

#: Word pieces an encoder reads of one query, its two end markers included; fewer where its
#: tokenizer says so (CLIP: 77).
MAX_TOKENS = 128
# Enough to share the cost of a call, small enough that 128-piece queries need under 50 MB.
_BATCH = 32


class TextEncoder:
    """Sentence encoder run by ONNX Runtime on one thread.

    Creating it is free: the tokenizer and the model are loaded by the first ``encode`` call.
    One encoder may be shared by several threads.

    Args:
        model_path: ONNX file with inputs ``input_ids`` and ``attention_mask`` (int64,
            [batch, tokens]) and output ``embedding`` (float32, [batch, size], unit length).
        tokenizer_path: ``tokenizer.json`` that belongs to the model.
    """

    def __init__(
        self, model_path: str | os.PathLike[str], tokenizer_path: str | os.PathLike[str]
    ) -> None:
        self._model_path = Path(model_path)
        self._tokenizer_path = Path(tokenizer_path)
        self._lock = threading.Lock()
        self._loaded: tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession] | None = None

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed queries.

        Every text passes through ``query_key`` first; what lies beyond ``MAX_TOKENS``
        word pieces, or the fewer that the tokenizer allows, is ignored.

        Args:
            texts: The queries; an empty sequence gives an array of no rows.

        Returns:
            float32 array (len(texts), size) of unit-length rows, in the order of ``texts``; the
            size is the model's own.

        Raises:
            TypeError: ``texts`` is a single string, or one of its items is not a string.
            ValueError: A query is refused by ``query_key``.
            FileNotFoundError: The model or the tokenizer is missing.
            RuntimeError: The model or the tokenizer cannot be loaded.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of queries; wrap a single query in a list")
        queries = [query_key(text) for text in texts]
        tokenizer, session = self._load()
        (output,) = session.get_outputs()
        embeddings = np.empty((len(queries), output.shape[-1]), np.float32)
        # Neighbours in length share a batch, so that short queries carry little padding.
        order = sorted(range(len(queries)), key=lambda index: len(queries[index]))
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            encodings = tokenizer.encode_batch([queries[row] for row in rows])
            feed = {
                "input_ids": np.array([item.ids for item in encodings], np.int64),
                "attention_mask": np.array([item.attention_mask for item in encodings], np.int64),
            }
            embeddings[rows] = session.run([output.name], feed)[0]
        return embeddings

    def _load(self) -> tuple[tokenizers.Tokenizer, onnxruntime.InferenceSession]:
        with self._lock:
            if self._loaded is None:
                self._loaded = (
                    _load_tokenizer(self._tokenizer_path),
                    encoder_session(self._model_path, "text encoder"),
                )
            return self._loaded


def _load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    import tokenizers

    _require_file(path, "tokenizer")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    # The library reports every kind of malformed file as a bare Exception.
    except Exception as error:
        raise RuntimeError(
            f"the tokenizer {path} cannot be read ({error}); install the model again"
        ) from error
    own = tokenizer.truncation
    tokenizer.enable_truncation(min(MAX_TOKENS, own["max_length"]) if own else MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def encoder_session(path: Path, role: str) -> onnxruntime.InferenceSession:
    """A query's encoder, ready to run on one thread.

    Args:
        path: The graph.
        role: What it is, for messages.

    Raises:
        FileNotFoundError: It is missing.
        RuntimeError: It cannot be loaded.
    """
    import onnxruntime

    _require_file(path, role)
    options = onnxruntime.SessionOptions()
    # A query is milliseconds of work: a pool of threads would cost more than it saves, and
    # would keep cores busy-waiting that the separator needs.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise RuntimeError(
            f"the {role} {path} cannot be loaded ({error}); install the model again"
        ) from error


def _require_file(path: Path, role: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"the {role} {path} is missing; install the model again")
