"""Separations under way, which whoever began them can stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from audiosep_core.errors import AudioSepError


class StoppedError(AudioSepError):
    """Whoever asked for a separation wants it no longer."""


class Runs:
    """What is under way, by who asked for it; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: dict[str, list[threading.Event]] = {}

    @contextmanager
    def run(self, owner: str) -> Iterator[Callable[[], None]]:
        """A run of an owner; call what this yields now and then.

        Raises:
            StoppedError: From that call, after :meth:`stop`.
        """
        stop = threading.Event()
        with self._lock:
            self._stops.setdefault(owner, []).append(stop)

        def check() -> None:
            if stop.is_set():
                raise StoppedError("stopped")

        try:
            yield check
        finally:
            with self._lock:
                self._stops[owner].remove(stop)
                if not self._stops[owner]:
                    del self._stops[owner]

    def stop(self, owner: str) -> None:
        """Stop all runs of an owner; does nothing where there is none."""
        with self._lock:
            for stop in self._stops.get(owner, []):
                stop.set()
