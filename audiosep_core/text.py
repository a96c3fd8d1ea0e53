"""From a written query to the embedding that conditions the separator, without PyTorch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import threading
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

#: Longest query in characters, counted after normalisation.
MAX_QUERY_CHARACTERS = 512
#: Word pieces an encoder reads of one query, its two end markers included; fewer where its
#: tokenizer says so (CLIP: 77).
MAX_TOKENS = 128

# Enough to share the cost of a call, small enough that 128-piece queries need under 50 MB.
_BATCH = 32
_WHITESPACE_CONTROLS = frozenset("\t\n\v\f\r")
_DIGEST_BYTES = hashlib.sha256().digest_size
# No encoder comes near this; it bounds what reading a damaged cache file can cost.
_MAX_CACHED_VALUES = 1 << 16
_CACHE_FILE = re.compile(r"[0-9a-f]{64}\.embedding")


def normalise_query(text: str) -> str:
    """Bring a query to the one form that is embedded, cached and shown.

    Leading and trailing whitespace goes, inner runs of whitespace (line breaks included)
    become one space, and the characters are put in Unicode form NFC. Doing it twice changes
    nothing.

    Args:
        text: The query as the user wrote it.

    Returns:
        The query in normal form, 1 to ``MAX_QUERY_CHARACTERS`` characters long.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: The query is empty, too long, or holds control characters or unpaired
            surrogates.
    """
    if not isinstance(text, str):
        raise TypeError(f"a query must be a string, not {type(text).__name__}")
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            raise ValueError(
                f"the query holds the unpaired surrogate U+{ord(character):04X}; "
                "decode it as valid UTF-8 or UTF-16 first"
            )
        if category == "Cc" and character not in _WHITESPACE_CONTROLS:
            raise ValueError(
                f"the query holds the control character U+{ord(character):04X}; remove it"
            )
    query = " ".join(unicodedata.normalize("NFC", text).split())
    # Spaces and invisible marks alone (a zero-width space, say) ask for nothing.
    if all(unicodedata.category(character)[0] in "CZ" for character in query):
        raise ValueError("the query is empty; describe the sound to separate, such as 'dog bark'")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValueError(
            f"the query has {len(query)} characters and at most {MAX_QUERY_CHARACTERS} are "
            "allowed; shorten it"
        )
    return query


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

        Every text passes through ``normalise_query`` first; what lies beyond ``MAX_TOKENS``
        word pieces, or the fewer that the tokenizer allows, is ignored.

        Args:
            texts: The queries; an empty sequence gives an array of no rows.

        Returns:
            float32 array (len(texts), size) of unit-length rows, in the order of ``texts``; the
            size is the model's own.

        Raises:
            TypeError: ``texts`` is a single string, or one of its items is not a string.
            ValueError: A query is refused by ``normalise_query``.
            FileNotFoundError: The model or the tokenizer is missing.
            RuntimeError: The model or the tokenizer cannot be loaded.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of queries; wrap a single query in a list")
        queries = [normalise_query(text) for text in texts]
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
                    _load_session(self._model_path),
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


def _load_session(path: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    _require_file(path, "text encoder")
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
            f"the text encoder {path} cannot be loaded ({error}); install the model again"
        ) from error


def _require_file(path: Path, role: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"the {role} {path} is missing; install the model again")


class EmbeddingCache:
    """Query embeddings kept on disk between runs.

    Each query has a file of its own, named by the SHA-256 of encoder and query, so several
    processes may share a folder. A cache never stands in the way of the work: a folder that
    cannot be written means no caching, and a file that cannot be read or is damaged counts as
    missing. Beyond ``max_entries`` the entries unused for longest are removed.

    Args:
        folder: Where the files lie; it is created by the first ``put``.
        encoder_hash: Identity of the encoder, so that another encoder never sees these files.
        max_entries: Most files to keep, at least 1.

    Raises:
        ValueError: ``max_entries`` is below 1.
    """

    def __init__(
        self, folder: str | os.PathLike[str], encoder_hash: str, max_entries: int = 4096
    ) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        self._folder = Path(folder)
        self._encoder_hash = encoder_hash
        self._max_entries = max_entries

    def get(self, query: str) -> npt.NDArray[np.float32] | None:
        """Look a query up.

        Args:
            query: The query; it passes through ``normalise_query``.

        Returns:
            The float32 array given to ``put`` (a copy of its own), or None.

        Raises:
            TypeError, ValueError: The query is refused by ``normalise_query``.
        """
        key = self._key(query)
        path = self._path(key)
        try:
            with path.open("rb") as file:
                content = file.read(_DIGEST_BYTES + 4 * _MAX_CACHED_VALUES + 1)
        except OSError:
            return None
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if not body or len(body) % 4 or digest != _checksum(key, body):
            return None
        # The time of last use decides what is removed first; losing it does no harm.
        with contextlib.suppress(OSError):
            os.utime(path)
        return np.frombuffer(body, "<f4").astype(np.float32)

    def put(self, query: str, embedding: npt.ArrayLike) -> None:
        """Store the embedding of a query, replacing an older one.

        Args:
            query: The query; it passes through ``normalise_query``.
            embedding: One-dimensional finite array, stored as float32.

        Raises:
            TypeError: The query is not a string.
            ValueError: The query is refused by ``normalise_query``, or the embedding is not a
                one-dimensional finite array of 1 to 65536 values.
        """
        key = self._key(query)
        values = np.asarray(embedding, "<f4")
        if values.ndim != 1 or not 1 <= values.size <= _MAX_CACHED_VALUES:
            raise ValueError(
                "an embedding must be one-dimensional with 1 to "
                f"{_MAX_CACHED_VALUES} values, not of shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError("the embedding holds values that are not finite; encode it again")
        body = values.tobytes()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(self._path(key), _checksum(key, body) + body)
            self._trim()

    def _key(self, query: str) -> bytes:
        # A query holds no control characters, so NUL separates the two without ambiguity.
        identity = f"{self._encoder_hash}\0{normalise_query(query)}"
        return hashlib.sha256(identity.encode()).digest()

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.embedding"

    def _trim(self) -> None:
        # Interrupted writes match too. Files of any other name are not the cache's to remove.
        with os.scandir(self._folder) as entries:
            found = [entry for entry in entries if _CACHE_FILE.match(entry.name)]
        excess = len(found) - self._max_entries
        if excess <= 0:
            return
        for entry in sorted(found, key=lambda entry: entry.stat().st_mtime_ns)[:excess]:
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()


def _checksum(key: bytes, body: bytes) -> bytes:
    # The key is part of it: a file under another query's name is as wrong as a torn one.
    return hashlib.sha256(key + body).digest()


def _write_atomically(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
