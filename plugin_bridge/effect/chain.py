"""Chains of native plugins and of our own parts, all in time with each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.extras import needed_for
from plugin_bridge.effect.container import Container
from plugin_bridge.effect.effect import Effect
from plugin_bridge.effect.stage import Stage


class Chain:
    """Parts one behind the other; every one takes its own latency out.

    Args:
        items: Native plugins and boards, processors, boards and mixes, in the order of the signal.
        before: A chain whose sections keep their place in a running stream where they are also in
            this one.

    Attributes:
        items: These.
        sections: The runs that are processed as one.

    Raises:
        TypeError: An item is none of these.
        ValueError: A processor comes twice; one processor follows one stream.
    """

    def __init__(self, items: Iterable[Any] = (), before: Chain | None = None) -> None:
        self.items = list(items)
        check_distinct(self.items)
        known = {section.identity: section for section in before.sections} if before else {}
        fresh = [Section(run) for run in _runs(self.items)]
        self.sections: list[Section] = [known.get(section.identity, section) for section in fresh]

    @property
    def native(self) -> bool:
        """Whether pedalboard processes all of it."""
        return all(section.native for section in self.sections)

    @property
    def reported_latency_samples(self) -> int:
        """The sum over all parts that report a latency."""
        return sum(getattr(item, "reported_latency_samples", 0) for item in self.items)

    def process(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """(channels, n) through all; without ``reset``, what has come out so far."""
        for section in self.sections:
            audio = section.process(audio, rate, buffer_size, reset)
        return audio

    def flush(self, audio: NDArray[np.float32], rate: int, buffer_size: int) -> NDArray[np.float32]:
        """(channels, n) and then the end of the stream."""
        for section in self.sections:
            audio = section.flush(audio, rate, buffer_size)
        return audio

    def reset(self) -> None:
        """Forget all sound."""
        for section in self.sections:
            section.reset()


def native_board(plugins: list[Any]) -> Any:
    """A ``pedalboard.Pedalboard``; pedalboard is imported by the first one."""
    with needed_for("SeparationBoard", "pedalboard"):
        import pedalboard
    return pedalboard.Pedalboard(plugins)


def check_distinct(items: Iterable[Any], holder: Container | None = None) -> None:
    """Refuse items that would follow two streams.

    Args:
        items: What is to be held.
        holder: What is to hold them.

    Raises:
        ValueError: A processor comes twice, or the holder is to hold itself.
    """
    held = [part for item in items for part in parts_of(item)]
    ours = [part for part in held if isinstance(part, Effect)]
    if holder is not None and any(part is holder for part in held):
        raise ValueError(f"a {type(holder).__name__} cannot hold itself")
    if any(ours.count(processor) > 1 for processor in ours):
        raise ValueError("a processor follows one stream; make a second one for a second place")


def parts_of(item: Any) -> list[Any]:
    """An item, and what it holds, however deep, if it is one of ours."""
    inner = item.parts if isinstance(item, Container) else ()
    return [item, *(part for held in inner for part in parts_of(held))]


class Section:
    """One of our processors, or a run of native plugins, in a chain.

    Args:
        items: One of ours, or native plugins.

    Attributes:
        board: What processes.
        native: Whether pedalboard does.
    """

    def __init__(self, items: list[Any]) -> None:
        self.native = not isinstance(items[0], Stage)
        # A native board checks its plugins itself.
        self.board: Any = native_board(items) if self.native else items[0]
        self.identity = tuple(id(item) for item in items)
        #: Rate, channels and buffer size that the native plugins are prepared for.
        self._prepared = (0, 0, 0)
        #: Frames that are too few to tell from channels, (channels, n).
        self._waiting: NDArray[np.float32] | None = None
        #: Frames that went in and have not come out.
        self._missing = 0

    def process(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """(channels, n) through the section; with ``reset`` as many frames come out."""
        if not self.native:
            return self.board.push(audio, rate, buffer_size, reset) if audio.size else audio
        channels = audio.shape[0]
        buffer_size = self._prepare(rate, channels, buffer_size)
        if reset:
            self._waiting, self._missing = None, 0
            return self.board.process(audio, rate, buffer_size, True)
        self._missing += audio.shape[1]
        if self._waiting is not None:
            audio = np.concatenate([self._waiting, audio], -1)
            self._waiting = None
        # pedalboard would take an array with no more frames than channels for another layout.
        if audio.shape[1] <= channels:
            self._waiting = audio
            return audio[:, :0]
        out = self.board.process(audio, rate, buffer_size, False)
        self._missing -= out.shape[1]
        return out

    def flush(self, audio: NDArray[np.float32], rate: int, buffer_size: int) -> NDArray[np.float32]:
        """(channels, n) and then the end of the stream: all that was still missing."""
        parts = [self.process(audio, rate, buffer_size, reset=False)]
        if not self.native:
            parts.append(self.board.finish(audio.shape[0], rate, buffer_size))
        while self._missing:
            wanted = self._missing
            silence = np.zeros((audio.shape[0], max(wanted, audio.shape[0] + 1)), np.float32)
            parts.append(self.process(silence, rate, buffer_size, reset=False)[:, :wanted])
            self._missing = wanted - parts[-1].shape[1]
        return np.concatenate(parts, -1)

    def _prepare(self, rate: int, channels: int, buffer_size: int) -> int:
        """The buffer size to use.

        Native plugins forget what they hold when a block is longer than any before it, and
        behind a processor blocks of any length come: the longest has to come first.
        """
        before = self._prepared
        if before[:2] != (rate, channels) or (buffer_size > before[2] and not self._missing):
            silence = np.zeros((channels, max(buffer_size, channels + 1)), np.float32)
            self.board.process(silence, rate, buffer_size, True)
            self.board.reset()
            self._prepared = (rate, channels, buffer_size)
        return min(buffer_size, self._prepared[2])

    def reset(self) -> None:
        """Forget all sound."""
        self._waiting, self._missing = None, 0
        if self.native:
            self.board.reset()
        else:
            self.board.forget()


def _runs(items: list[Any]) -> list[list[Any]]:
    """Items grouped: every one of ours alone, native plugins with their neighbours."""
    runs: list[list[Any]] = []
    for item in items:
        if runs and not isinstance(item, Stage) and not isinstance(runs[-1][0], Stage):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs
