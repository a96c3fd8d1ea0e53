"""A file as it should have been: a new beginning, and parts of what is there."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO


class View(io.RawIOBase):
    """Reads bytes from memory and ranges of a file as if they were one file.

    Nothing is copied, so that the header of a recording of any size can be mended.

    Args:
        file: The file; it is not closed with the view.
        parts: In their order, bytes, or (start, size) of a range of the file.
        told: The size that seeking to the end tells, for readers that guess a length from it; the
            bytes that are there if None. Who looks for a tag at that end finds zeros, who reads
            on from the last part finds the end.
    """

    def __init__(
        self,
        file: BinaryIO,
        parts: Sequence[bytes | tuple[int, int]],
        told: int | None = None,
    ) -> None:
        self._file = file
        self._parts = [
            part for part in parts if (len(part) if isinstance(part, bytes) else part[1])
        ]
        self._starts = []
        self._size = 0
        for part in self._parts:
            self._starts.append(self._size)
            self._size += len(part) if isinstance(part, bytes) else part[1]
        self._told = self._size if told is None else told
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; returns the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._told}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as the parts reach; returns the number of bytes."""
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(room) and self._position < self._size:
            index = bisect_right(self._starts, self._position) - 1
            part, inside = self._parts[index], self._position - self._starts[index]
            if isinstance(part, bytes):
                piece = part[inside : inside + len(room) - done]
            else:
                self._file.seek(part[0] + inside)
                piece = self._file.read(min(part[1] - inside, len(room) - done))
            if not piece:
                break
            room[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        if self._size < self._told and done != len(room) and (done or self._position > self._size):
            count = max(0, min(len(room) - done, self._told - self._position))
            room[done : done + count] = bytes(count)
            done += count
            self._position += count
        return done
