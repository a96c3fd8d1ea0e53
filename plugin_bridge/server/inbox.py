"""What waits for a stream's thread."""

from __future__ import annotations

import collections
import threading
from typing import Any

#: Bytes of audio that wait for a stream until its connection is read no further.
_MOST_WAITING = 1 << 20


class Inbox:
    """What waits for a stream's thread, of bounded size."""

    def __init__(self) -> None:
        self._items: collections.deque[Any] = collections.deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._draining = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed or self._draining

    def put(self, item: Any, size: int = 0) -> None:
        """Append; waits while more audio is waiting than a stream may hold."""
        with self._changed:
            while size and self._bytes + size > _MOST_WAITING and self._bytes and not self._closed:
                self._changed.wait()
            if not self.ended:
                self._items.append((item, size))
                self._bytes += size
                self._changed.notify_all()

    def get(self) -> Any:
        """The next item; None once the inbox is closed."""
        with self._changed:
            while not self._items and not self.ended:
                self._changed.wait()
            if self._closed or not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            if size:
                self._changed.notify_all()
            return item

    def close(self, drain: bool) -> None:
        """Take nothing more; with ``drain`` what is there is still handed out."""
        with self._changed:
            self._draining = True
            self._closed = self._closed or not drain
            self._changed.notify_all()
