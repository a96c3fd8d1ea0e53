"""From a query in words to its embedding: pack, then cache, then text encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.bundle import QUERIES, TEXT_ENCODER, TOKENIZER, Bundle, cache_folder
from audiosep_core.errors import BundleError, QueryError
from audiosep_core.text import EmbeddingCache, TextEncoder, normalise_query


class QueryPack:
    """Embeddings computed beforehand, as ``queries.safetensors`` holds them.

    Args:
        queries: The texts.
        embeddings: (queries, condition_size) float32 of unit length.
        encoder_hash: Of the text encoder that made them.
    """

    def __init__(
        self, queries: Sequence[str], embeddings: NDArray[np.float32], encoder_hash: str
    ) -> None:
        self.queries = list(queries)
        self.embeddings = embeddings
        self.encoder_hash = encoder_hash
        self._rows = {_key(query): row for row, query in enumerate(self.queries)}

    def get(self, query: str) -> NDArray[np.float32] | None:
        """The embedding of a query, upper and lower case alike, or None."""
        row = self._rows.get(_key(query))
        return None if row is None else self.embeddings[row]

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        from safetensors.numpy import save_file

        metadata = {
            "queries": json.dumps(self.queries, ensure_ascii=False),
            "encoder": self.encoder_hash,
        }
        save_file({"embeddings": self.embeddings}, path, metadata)

    @classmethod
    def load(cls, path: Path, encoder_hash: str) -> QueryPack:
        """Read a pack made with the text encoder of that hash.

        Raises:
            BundleError: The file is damaged, or was made with another encoder.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                embeddings = file.get_tensor("embeddings")
            queries = json.loads(metadata["queries"])
            made_with = metadata["encoder"]
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise BundleError(
                f"the query pack {path} is damaged ({error}); make it again"
            ) from None
        if made_with != encoder_hash:
            raise BundleError(
                f"the query pack {path} was made with another text encoder; make it again for "
                "this model"
            )
        if embeddings.ndim != 2 or len(embeddings) != len(queries):
            raise BundleError(
                f"the query pack {path} is damaged (its sizes disagree); make it again"
            )
        return cls(queries, embeddings.astype(np.float32), made_with)


class QueryEncoder:
    """Embeds queries for one model; loads the text encoder only for a text it has never seen."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        if QUERIES in bundle.hashes:
            self.pack = QueryPack.load(bundle.path(QUERIES), bundle.encoder_hash)
        else:
            nothing = np.empty((0, bundle.config.condition_size), np.float32)
            self.pack = QueryPack([], nothing, bundle.encoder_hash)
        self._cache = EmbeddingCache(cache_folder() / "queries", bundle.encoder_hash)
        self._encoder = TextEncoder(bundle.path(TEXT_ENCODER), bundle.path(TOKENIZER))

    def embed(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of some queries.

        Args:
            queries: Texts; a single string is taken as one query.

        Returns:
            (queries, condition_size) float32 of unit length.

        Raises:
            QueryError: There is none, or one is empty, too long or not text, or the bundle has no
                text encoder and does not know it.
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
            for text, embedding in zip(new, self._encoder.encode(new), strict=True):
                self._cache.put(text, embedding)
                known[text] = embedding
        return np.stack([embedding for text in texts if (embedding := known[text]) is not None])

    def _known(self, text: str) -> NDArray[np.float32] | None:
        packed = self.pack.get(text)
        return self._cache.get(text) if packed is None else packed


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
