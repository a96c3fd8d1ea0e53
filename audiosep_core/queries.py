"""From a query in words to its embedding: pack, then cache, then text encoder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.bundle import QUERIES, TEXT_ENCODER, TOKENIZER, Bundle, cache_folder
from audiosep_core.errors import BundleError, QueryError, UsageError
from audiosep_core.text import EmbeddingCache, TextEncoder, normalise_query

_FILM = "film/"


class QueryPack:
    """What was computed beforehand for some queries, stored as safetensors.

    The tensor ``embeddings`` is (queries, condition_size). Beside it, ``film/NAME`` is
    (queries, channels): the value NAME of the model's ``separator.onnx``, one of those that
    depend on the query alone, flattened. The released model reads 8,256 such numbers a query; its
    checkpoint has 1,600 more that its forward pass ignores. The metadata holds the texts as JSON
    (``queries``) and the hashes of the text encoder (``encoder``) and, except in a bundle's own
    pack, of the separator (``model``).

    Args:
        queries: The texts.
        embeddings: (queries, condition_size) float32 of unit length.
        encoder_hash: Of the text encoder that made them.
        model_hash: Of the separator that the pack is for; empty in a bundle's own pack.
        film: Name of a value to (queries, channels) float32.
    """

    def __init__(
        self,
        queries: Sequence[str],
        embeddings: NDArray[np.float32],
        encoder_hash: str,
        model_hash: str = "",
        film: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self.queries = list(queries)
        self.embeddings = embeddings
        self.encoder_hash = encoder_hash
        self.model_hash = model_hash
        self.film = dict(film or {})
        self._rows = {_key(query): row for row, query in enumerate(self.queries)}

    def get(self, query: str) -> NDArray[np.float32] | None:
        """The embedding of a query, upper and lower case alike, or None."""
        row = self._rows.get(_key(query))
        return None if row is None else self.embeddings[row]

    def save(self, path: Path) -> None:
        """Write as safetensors; a file that is there is replaced as a whole.

        Raises:
            UsageError: The file cannot be written.
        """
        from safetensors.numpy import save

        metadata = {
            "queries": json.dumps(self.queries, ensure_ascii=False),
            "encoder": self.encoder_hash,
            "model": self.model_hash,
        }
        film = {f"{_FILM}{name}": values for name, values in self.film.items()}
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(save({"embeddings": self.embeddings, **film}, metadata))
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise UsageError(
                f"{path} cannot be written ({error.strerror}); choose another place"
            ) from None

    @classmethod
    def load(cls, path: Path, encoder_hash: str, model_hash: str = "") -> QueryPack:
        """Read a pack made with the text encoder of that hash.

        Args:
            path: The file.
            encoder_hash: Of the text encoder at hand.
            model_hash: Of the separator at hand; empty takes a pack of any.

        Raises:
            BundleError: The file is damaged, or was made with another encoder or model.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            embeddings = tensors.pop("embeddings")
            queries = json.loads(metadata["queries"])
            made_with = metadata["encoder"]
            made_for = metadata.get("model", "")
            damage = _damage(queries, embeddings, tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            damage = str(error)
        if damage:
            raise BundleError(f"the query pack {path} is damaged ({damage}); make it again")
        if made_with != encoder_hash:
            raise BundleError(
                f"the query pack {path} was made with another text encoder; make it again for "
                "this model"
            )
        if model_hash and made_for != model_hash:
            raise BundleError(
                f"the query pack {path} was made for another model; make it again for this one "
                "with 'audiosep queries pack'"
            )
        film = {name.removeprefix(_FILM): values for name, values in tensors.items()}
        return cls(queries, embeddings.astype(np.float32), made_with, made_for, film)


class QueryEncoder:
    """Embeds queries for one model; loads the text encoder only for a text it has never seen."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        if QUERIES in bundle.hashes:
            self.pack = QueryPack.load(bundle.path(QUERIES), bundle.encoder_hash)
        else:
            nothing = np.empty((0, bundle.config.condition_size), np.float32)
            self.pack = QueryPack([], nothing, bundle.encoder_hash)
        self._packs = [self.pack]
        self._cache = EmbeddingCache(cache_folder() / "queries", bundle.encoder_hash)
        self._encoder = TextEncoder(bundle.path(TEXT_ENCODER), bundle.path(TOKENIZER))

    def add_pack(self, path: Path) -> None:
        """Take the embeddings of a pack's queries from it.

        Raises:
            BundleError: The pack is damaged, or was made for another model.
        """
        bundle = self._bundle
        self._packs.insert(0, QueryPack.load(path, bundle.encoder_hash, bundle.model_hash))

    def embed(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of some queries.

        Args:
            queries: Texts; a single string is taken as one query.

        Returns:
            (queries, condition_size) float32 of unit length.

        Raises:
            QueryError: There is none, or one is empty, too long or not text, or the bundle has no
                text encoder and does not know it.
            BundleError: The text encoder is damaged.
        """
        texts = check_queries(queries)
        known = {text: self._known(text) for text in texts}
        new = [text for text, embedding in known.items() if embedding is None]
        if new and TEXT_ENCODER not in self._bundle.hashes:
            raise QueryError(
                f"the bundle {self._bundle.folder} has no {TEXT_ENCODER} and cannot understand "
                f"{new[0]!r}; export it again with --text-encoder and a folder that holds "
                f"{TEXT_ENCODER} and {TOKENIZER}"
            )
        if new:
            try:
                encoded = self._encoder.encode(new)
            except (OSError, RuntimeError) as error:
                raise BundleError(str(error)) from None
            for text, embedding in zip(new, encoded, strict=True):
                self._cache.put(text, embedding)
                known[text] = embedding
        return np.stack([embedding for text in texts if (embedding := known[text]) is not None])

    def _known(self, text: str) -> NDArray[np.float32] | None:
        for pack in self._packs:
            packed = pack.get(text)
            if packed is not None:
                return packed
        return self._cache.get(text)


def read_queries(path: Path) -> list[str]:
    """The queries of a text file, one a line; blank lines are skipped.

    Args:
        path: A file in UTF-8.

    Raises:
        QueryError: The file is missing, no UTF-8 or holds no query, or a line is too long, holds
            control characters or repeats another one; the message gives its number.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} cannot be read ({error.strerror}); give a text file") from None
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        place = content.count(b"\n", 0, error.start) + 1
        raise QueryError(f"{path}, line {place}: not UTF-8; save the file as UTF-8") from None
    queries: list[str] = []
    places: dict[str, int] = {}
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            query = normalise_query(line)
        except ValueError as error:
            raise QueryError(f"{path}, line {place}: {error}") from None
        first = places.setdefault(_key(query), place)
        if first != place:
            raise QueryError(f"{path}, line {place}: repeats line {first} ({query!r}); remove one")
        queries.append(query)
    if not queries:
        raise QueryError(f"{path} holds no query; write one a line")
    return queries


def check_queries(queries: Sequence[str]) -> list[str]:
    """Queries with white space tidied.

    Raises:
        QueryError: There is none, or one is empty, too long or not text.
    """
    listed = [queries] if isinstance(queries, str) else list(queries)
    if not listed:
        raise QueryError("no query was given; describe at least one sound in words")
    try:
        return [normalise_query(query) for query in listed]
    except (TypeError, ValueError) as error:
        raise QueryError(str(error)) from None


def _key(query: str) -> str:
    return normalise_query(query).casefold()


def _damage(
    queries: object, embeddings: NDArray[np.float32], film: Mapping[str, NDArray[np.float32]]
) -> str:
    """What is wrong with the content of a pack, or nothing."""
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        return "its queries are no list of texts"
    arrays = [embeddings, *film.values()]
    if any(array.ndim != 2 or len(array) != len(queries) for array in arrays):
        return "its sizes disagree"
    if not all(np.isfinite(array).all() for array in arrays):
        return "it holds NaN or infinity"
    return ""
