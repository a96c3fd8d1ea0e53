"""What every query encoder does, with a cache on disk in front of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiosep_core.bundle import cache_folder, sha256
from audiosep_core.errors import UsageError
from training.config import QueryConfig
from training.query_encoders.table import EmbeddingTable

Embeddings = NDArray[np.float32]


class QueryEncoder:
    """A frozen encoder; texts and videos are encoded once, whatever the number of epochs.

    Subclasses encode; this class remembers. Embeddings are float32 of unit length. A sound is
    a new random piece each time, so those are not remembered.

    Args:
        identity: Tells encoders with different weights apart.
        size: Length of an embedding.
    """

    def __init__(self, identity: str, size: int) -> None:
        self.size = size
        self.device = torch.device("cpu")
        self._table = EmbeddingTable(cache_folder() / "training" / "embeddings.sqlite", identity)

    def __deepcopy__(self, memo: dict[int, Any]) -> QueryEncoder:
        # A running average of weights copies the module that holds this; nothing here is trained.
        return self

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """(texts, size)."""
        keys = [hashlib.sha256(f"text\0{text}".encode()).digest() for text in texts]
        return self._remembered(keys, lambda rows: self._encode_texts([texts[r] for r in rows]))

    def embed_videos(self, paths: Sequence[Path]) -> Embeddings:
        """(videos, size): each the mean over its frames, one a second."""
        keys = [hashlib.sha256(f"video\0{sha256(path)}".encode()).digest() for path in paths]
        return self._remembered(keys, lambda rows: self._encode_videos([paths[r] for r in rows]))

    def embed_sounds(self, audio: Embeddings, sample_rate: int) -> Embeddings:
        """(sounds, samples) float32 to (sounds, size).

        Raises:
            UsageError: The encoder knows no sounds.
        """
        raise self._cannot("sounds", "set query.text_ratio = 1, or use the encoder 'clap'")

    def _encode_texts(self, texts: list[str]) -> Embeddings:
        raise NotImplementedError

    def _encode_videos(self, paths: list[Path]) -> Embeddings:
        raise self._cannot("videos", "set query.video = false, or use the encoder 'clip'")

    def _cannot(self, what: str, remedy: str) -> UsageError:
        return UsageError(f"the query encoder {type(self).__name__} knows no {what}; {remedy}")

    def _remembered(
        self, keys: list[bytes], encode: Callable[[list[int]], Embeddings]
    ) -> Embeddings:
        known = self._table.get(keys)
        rows = {key: row for row, key in enumerate(keys) if key not in known}
        if rows:
            made = encode(list(rows.values()))
            fresh = {key: made[number] for number, key in enumerate(rows)}
            self._table.put(fresh)
            known.update(fresh)
        return np.stack([known[key] for key in keys])


def open_encoder(config: QueryConfig) -> QueryEncoder:
    """The frozen encoder that a configuration names.

    Raises:
        UsageError: Its weights are not given or not there, or a package is missing.
        CheckpointError: They are another encoder's.
    """
    try:
        if config.encoder == "sentence":
            from training.query_encoders.sentence import SentenceEncoder

            return SentenceEncoder()
        if config.encoder == "clap":
            from training.query_encoders.clap import ClapEncoder

            path = place(config.checkpoint, "query.checkpoint", "laion-clap's checkpoint")
            folder = place(config.vocabulary, "query.vocabulary", "vocab.json and merges.txt")
            return ClapEncoder(path, folder, sounds=config.text_ratio < 1)
        if config.encoder == "clip":
            from training.query_encoders.clip import ClipEncoder

            return ClipEncoder(place(config.checkpoint, "query.checkpoint", "CLIP's folder"))
        from training.query_encoders.bert import FrozenBert

        return FrozenBert(place(config.checkpoint, "query.checkpoint", "BERT's folder"))
    except ModuleNotFoundError as error:
        raise needs(error, config.encoder) from None


def needs(error: ModuleNotFoundError, encoder: str) -> UsageError:
    """What to say when an encoder's package is missing."""
    return UsageError(
        f"the query encoder {encoder!r} needs the package {error.name}; run: pip install "
        "'audiosep[cpu,export,train]'"
    )


def place(path: str, field: str, what: str) -> Path:
    """The path in a field, which has to be there.

    Raises:
        UsageError: It is not.
    """
    if not path:
        raise UsageError(f"{field} is not set; give {what} with --set {field}=PATH")
    if not Path(path).exists():
        raise UsageError(f"{field}: {path} does not exist; give {what} with --set {field}=PATH")
    return Path(path)
