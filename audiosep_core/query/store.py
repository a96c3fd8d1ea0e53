"""Embeddings on disk, kept between runs and shared by processes."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: How long another process may write before this one does without the store.
_PATIENCE_SECONDS = 20.0
#: SQLite takes at least 999 parameters in one statement.
_AT_A_TIME = 500
_DIGEST_BYTES = hashlib.sha256().digest_size
#: No encoder comes near this.
_MAX_VALUES = 1 << 16
_TABLE = """
CREATE TABLE IF NOT EXISTS embeddings
(key BLOB PRIMARY KEY, value BLOB NOT NULL, used REAL NOT NULL) WITHOUT ROWID
"""


class EmbeddingStore:
    """Looks embeddings up by what they are of.

    A store never stands in the way of the work: a file that cannot be read or written means that
    nothing is kept, an entry that is damaged counts as missing, and a file that is no database any
    more is begun anew.

    Args:
        path: SQLite file; made by the first :meth:`put`.
        identity: Of the encoder; another one never sees these entries.
        max_entries: Most entries to keep, at least 1; those unused for longest go first. None
            keeps all.

    Attributes:
        path: The file.

    Raises:
        ValueError: ``max_entries`` is below 1.
    """

    def __init__(self, path: Path, identity: str, max_entries: int | None = None) -> None:
        if max_entries is not None and max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        self.path = path
        self._identity = identity
        self._max_entries = max_entries

    def get(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Those of the embeddings that are known, each (size,) float32, an array of its own."""
        rows = {self._row(key): key for key in keys}
        found: dict[str, NDArray[np.float32]] = {}
        if not rows or not self.path.is_file():
            return found
        with contextlib.suppress(sqlite3.Error), self._open() as table:
            for some in _batches(list(rows)):
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM embeddings WHERE key IN ({marks})"
                for row, value in table.execute(query, some):
                    embedding = _unpacked(row, value)
                    if embedding is not None:
                        found[rows[row]] = embedding
                if self._max_entries is not None:
                    # It decides what is removed first; losing it does no harm.
                    table.execute(
                        f"UPDATE embeddings SET used = ? WHERE key IN ({marks})",
                        [time.time(), *some],
                    )
        return found

    def put(self, embeddings: Mapping[str, ArrayLike]) -> None:
        """Keep embeddings, in place of older ones of the same keys.

        Args:
            embeddings: Each a finite array of one dimension, stored as float32.

        Raises:
            ValueError: One is no such array, or has more than 65536 values.
        """
        now = time.time()
        entries = []
        for key, embedding in embeddings.items():
            row = self._row(key)
            entries.append((row, _packed(row, embedding), now))
        try:
            self._write(entries)
        except sqlite3.OperationalError:
            # Locked, full, or not to be written.
            return
        except (sqlite3.DatabaseError, OSError):
            with contextlib.suppress(sqlite3.Error, OSError):
                self.path.unlink()
                self._write(entries)

    def _write(self, entries: list[tuple[bytes, bytes, float]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as table:
            table.execute(_TABLE)
            table.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", entries)
            if self._max_entries is not None:
                table.execute(
                    "DELETE FROM embeddings WHERE key IN "
                    "(SELECT key FROM embeddings ORDER BY used DESC LIMIT -1 OFFSET ?)",
                    [self._max_entries],
                )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        table = sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS)
        try:
            # What a loss of power spoils is found out and encoded again.
            table.execute("PRAGMA synchronous = OFF")
            with table:
                yield table
        finally:
            table.close()

    def _row(self, key: str) -> bytes:
        digest = hashlib.sha256(self._identity.encode())
        digest.update(b"\0")
        digest.update(key.encode())
        return digest.digest()


def _batches(rows: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(rows), _AT_A_TIME):
        yield rows[start : start + _AT_A_TIME]


def _packed(row: bytes, embedding: ArrayLike) -> bytes:
    """Checksum and values; the key is part of the sum."""
    values = np.asarray(embedding, "<f4")
    if values.ndim != 1 or not 1 <= values.size <= _MAX_VALUES:
        raise ValueError(
            f"an embedding must be one-dimensional with 1 to {_MAX_VALUES} values, not of shape "
            f"{values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("the embedding holds values that are not finite; encode it again")
    body = values.tobytes()
    return hashlib.sha256(row + body).digest() + body


def _unpacked(row: bytes, value: bytes) -> NDArray[np.float32] | None:
    digest, body = value[:_DIGEST_BYTES], value[_DIGEST_BYTES:]
    if not body or len(body) % 4 or digest != hashlib.sha256(row + body).digest():
        return None
    return np.frombuffer(body, "<f4").astype(np.float32)
