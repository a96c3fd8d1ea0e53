"""From a query to its embedding: of words by pack, then cache, then text encoder; or of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import BundleError, QueryError
from audiosep_core.model.bundle import QUERIES, TEXT_ENCODER, TOKENIZER, Bundle, cache_folder
from audiosep_core.model.installed import packaged_text_encoder
from audiosep_core.query.examples import Example, ExampleEncoder
from audiosep_core.query.packs import QueryPack
from audiosep_core.query.store import EmbeddingStore
from audiosep_core.query.text import check_queries, query_key
from audiosep_core.query.text_encoder import TextEncoder

#: Queries that are remembered; those unused for longest are forgotten first.
_MOST_CACHED = 4096


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
        self._cache = EmbeddingStore(
            cache_folder() / "queries.sqlite", bundle.encoder_hash, _MOST_CACHED
        )
        self._encoder = TextEncoder(bundle.path(TEXT_ENCODER), bundle.path(TOKENIZER))
        self._examples = ExampleEncoder(bundle)

    def add_pack(self, path: Path) -> None:
        """Take the embeddings of a pack's queries from it.

        Raises:
            BundleError: The pack is damaged, or was made for another model.
        """
        bundle = self._bundle
        self._packs.insert(0, QueryPack.load(path, bundle.encoder_hash, bundle.model_hash))

    def embed(self, queries: Sequence[str | Example]) -> NDArray[np.float32]:
        """Embeddings of some queries.

        Args:
            queries: Texts, or files like what is wanted; a single string is taken as one query.

        Returns:
            (queries, condition_size) float32 of unit length.

        Raises:
            QueryError: There is none, or one is empty, too long or not text, or the bundle has no
                text encoder and does not know it, or no tower for a file.
            AudioFileError: A file cannot be read.
            BundleError: An encoder is damaged.
        """
        if not any(isinstance(query, Example) for query in queries):
            return self._embed_texts(queries)  # type: ignore[arg-type]
        return np.concatenate([self._embed_one(query) for query in queries])

    def embed_sound(self, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Embedding of a mono sound: (samples,) to (condition_size,), of unit length.

        Raises:
            QueryError: The model has no tower that hears.
            BundleError: The tower is damaged.
        """
        try:
            return self._examples.embed_sound(audio, sample_rate)
        except (OSError, RuntimeError) as error:
            raise BundleError(str(error)) from None

    def _embed_one(self, query: str | Example) -> NDArray[np.float32]:
        if isinstance(query, str):
            return self._embed_texts([query])
        try:
            return self._examples.embed(query)[None]
        except (OSError, RuntimeError) as error:
            raise BundleError(str(error)) from None

    def _embed_texts(self, queries: Sequence[str]) -> NDArray[np.float32]:
        texts = check_queries(queries)
        known = self._known(texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
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
            known.update(zip(new, encoded, strict=True))
            self._cache.put({query_key(text): known[text] for text in new})
        return np.stack([known[text] for text in texts])

    def is_kept(self, query: str) -> bool:
        """Whether the embedding of a query comes from a pack or the cache, without encoding.

        Raises:
            QueryError: The query is empty, too long or not text.
        """
        return bool(self._known(check_queries(query)))

    @property
    def packed(self) -> list[str]:
        """The queries of all packs, each once."""
        return list(dict.fromkeys(query for pack in self._packs for query in pack.queries))

    @property
    def cache_folder(self) -> Path:
        """Where embeddings are kept between runs."""
        return self._cache.path.parent

    def _known(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Those of the texts that a pack or the cache has embeddings of."""
        found: dict[str, NDArray[np.float32]] = {}
        # The pack that was added last comes first.
        for pack in reversed(self._packs):
            for text in texts:
                packed = pack.get(text)
                if packed is not None:
                    found[text] = packed
        keys = {text: query_key(text) for text in texts if text not in found}
        cached = self._cache.get(list(keys.values()))
        return found | {text: cached[key] for text, key in keys.items() if key in cached}


def bundled_text_encoder() -> TextEncoder:
    """The sentence encoder that ships."""
    folder = packaged_text_encoder()
    return TextEncoder(folder / TEXT_ENCODER, folder / TOKENIZER)
