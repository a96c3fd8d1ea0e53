"""Embeddings on disk, one table for all encoders, shared by all processes of a training."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_PATIENCE_SECONDS = 60.0
_AT_A_TIME = 500


class EmbeddingTable:
    """Looks embeddings up by the hash of what they embed.

    A table that cannot be read or written means no cache, never an error.

    Args:
        path: SQLite file; made by the first :meth:`put`.
        identity: Of the encoder; another one never sees these rows.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity.encode()
        self._recent: dict[bytes, NDArray[np.float32]] = {}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Those of the embeddings that are known."""
        found = {key: self._recent[key] for key in keys if key in self._recent}
        absent = {self._row(key): key for key in keys if key not in found}
        rows = list(absent)
        if rows and self._path.is_file():
            with contextlib.suppress(sqlite3.Error), self._open() as table:
                for start in range(0, len(rows), _AT_A_TIME):
                    some = rows[start : start + _AT_A_TIME]
                    marks = ",".join("?" * len(some))
                    query = f"SELECT key, value FROM embeddings WHERE key IN ({marks})"
                    for row, value in table.execute(query, some):
                        found[absent[row]] = np.frombuffer(value, "<f4").astype(np.float32)
        self._recent.update(found)
        return found

    def put(self, embeddings: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Keep some embeddings, each (size,) float32."""
        self._recent.update(embeddings)
        with contextlib.suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as table:
                table.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, value BLOB)"
                )
                table.executemany(
                    "INSERT OR REPLACE INTO embeddings VALUES (?, ?)",
                    [(self._row(k), v.astype("<f4").tobytes()) for k, v in embeddings.items()],
                )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        table = sqlite3.connect(self._path, timeout=_PATIENCE_SECONDS)
        try:
            with table:
                yield table
        finally:
            table.close()

    def _row(self, key: bytes) -> bytes:
        return hashlib.sha256(self._identity + b"\0" + key).digest()
