"""Signals wait while libsndfile is at work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back what Ctrl-C, SIGTERM and SIGHUP raise until the block ends.

    libsndfile calls Python back to read and write bytes. What is raised in there is lost: it is
    printed, and libsndfile takes its own call for failed. Does nothing outside of the main
    thread, which is the only one that signals interrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, Any]] = []
    before: dict[int, Any] = {}
    try:
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, frame: came.append((number, frame)))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            number, frame = came[0]
            before[number](number, frame)
