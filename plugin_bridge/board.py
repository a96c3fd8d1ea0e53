"""A pedalboard that holds native plugins and our processors."""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import LayoutError, UsageError
from plugin_bridge.effect import Effect
from plugin_bridge.layout import Layout, check_call, detect_layout

try:
    import pedalboard
except ImportError:
    raise UsageError(
        "SeparationBoard needs pedalboard; install audiosep with the extra 'pedalboard': "
        "pip install 'audiosep[pedalboard]'"
    ) from None


class SeparationBoard(MutableSequence):
    """A drop-in for ``pedalboard.Pedalboard`` that also takes our processors.

    Every run of native plugins is processed by one native board, so that a board without
    processors gives the very samples of ``pedalboard.Pedalboard``. All parts are in time with
    each other, as each takes its own latency out.

    Args:
        plugins: Native plugins and boards, :class:`plugin_bridge.AudioSepProcessor`,
            :class:`plugin_bridge.BridgeProcessor` and further ``SeparationBoard`` objects, in
            the order of the signal.

    Raises:
        TypeError: An item is none of these.
        ValueError: A processor comes twice; one processor follows one stream.
    """

    is_effect = True
    is_instrument = False

    def __init__(self, plugins: Iterable[Any] | None = None) -> None:
        self._layout: Layout | None = None
        #: Channels and rate of the stream that is running.
        self._stream: tuple[int, int] | None = None
        self._buffer_size = 1
        #: Frames beyond what a call may return, (channels, n).
        self._surplus: NDArray[np.float32] | None = None
        self._items: list[Any] = []
        self._sections: list[_Section] = []
        self._install(list(plugins or []))

    def __repr__(self) -> str:
        plural = "" if len(self) == 1 else "s"
        return f"<SeparationBoard with {len(self)} plugin{plural}: {self._items}>"

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> SeparationBoard: ...
    def __getitem__(self, index: int | slice) -> Any:
        found = self._items[index]
        return SeparationBoard(found) if isinstance(index, slice) else found

    def __setitem__(self, index: Any, value: Any) -> None:
        items = list(self._items)
        items[index] = value
        self._install(items)

    def __delitem__(self, index: int | slice) -> None:
        items = list(self._items)
        del items[index]
        self._install(items)

    def insert(self, index: int, value: Any) -> None:
        """Put a plugin before another one.

        Raises:
            IndexError: The board is shorter than that.
            TypeError: It is no plugin.
            ValueError: The processor is on the board already.
        """
        if not -len(self) <= index <= len(self):
            raise IndexError("index out of range")
        items = list(self._items)
        items.insert(index, value)
        self._install(items)

    @property
    def reported_latency_samples(self) -> int:
        """The sum over all plugins that report a latency."""
        return sum(getattr(item, "reported_latency_samples", 0) for item in self._items)

    def __call__(
        self,
        input_array: NDArray,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> NDArray[np.float32]:
        """The same as :meth:`process`."""
        return self.process(input_array, sample_rate, buffer_size, reset)

    def process(
        self,
        input_array: NDArray,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> NDArray[np.float32]:
        """Send a recording, or the next part of one, through all plugins.

        Arguments, result and errors are those of :meth:`plugin_bridge.AudioSepProcessor.process`.
        """
        rate = check_call(sample_rate, buffer_size)
        if all(section.native for section in self._sections):
            board = self._sections[0].board if self._sections else pedalboard.Pedalboard([])
            return board.process(input_array, sample_rate, buffer_size, reset)
        layout = detect_layout(input_array, self._layout)
        if not input_array.size:
            return np.zeros(input_array.shape, np.float32)
        if reset and not np.isfinite(input_array).all():
            raise ValueError("audio holds NaN or infinite samples; repair it first")
        stream = None if reset else (layout.channels, rate)
        if stream and self._stream and stream != self._stream:
            raise LayoutError(
                f"the stream has {self._stream[0]} channels at {self._stream[1]} Hz, this call has "
                f"{layout.channels} at {rate} Hz; call flush() or reset() first"
            )
        audio = layout.channels_first(input_array)
        for section in self._sections:
            audio = section.process(audio, rate, buffer_size, reset)
        self._layout, self._stream, self._buffer_size = layout, stream, buffer_size
        if stream:
            audio = self._take(audio, input_array.size // layout.channels)
        return layout.restore(audio)

    def flush(self) -> NDArray[np.float32]:
        """End a stream of calls with ``reset=False``: the frames that all plugins held back.

        Tails of reverbs and delays beyond the end of the input are not among them, as in
        pedalboard. The next call starts a new stream.

        Returns:
            float32 in the layout of the last call.
        """
        layout = self._layout or Layout("channels first", 1)
        audio = np.zeros((layout.channels, 0), np.float32)
        if self._stream:
            for section in self._sections:
                audio = section.flush(audio, self._stream[1], self._buffer_size)
            audio = self._take(audio, None)
            self.reset()
        return layout.restore(audio)

    def reset(self) -> None:
        """Forget all sound; the next call starts a new stream."""
        self._stream = self._surplus = None
        for section in self._sections:
            section.reset()

    def _take(self, audio: NDArray[np.float32], count: int | None) -> NDArray[np.float32]:
        """At most ``count`` frames of what is there; the rest is kept."""
        if self._surplus is not None:
            audio = np.concatenate([self._surplus, audio], -1)
        self._surplus = None if count is None else audio[:, count:]
        return audio[:, :count]

    def _install(self, items: list[Any]) -> None:
        ours = [processor for item in items for processor in _processors(item)]
        if any(ours.count(processor) > 1 for processor in ours):
            raise ValueError("a processor follows one stream; make a second one for a second place")
        if any(board is self for item in items for board in _boards(item)):
            raise ValueError("a board cannot hold itself")
        # Sections that stay as they are keep their place in a running stream.
        known = {section.identity: section for section in self._sections}
        fresh = [_Section(run) for run in _runs(items)]
        self._sections = [known.get(section.identity, section) for section in fresh]
        self._items = items


_OURS = (Effect, SeparationBoard)


class _Section:
    """One of our processors, or a run of native plugins, in a chain.

    Args:
        items: One of ours, or native plugins.

    Attributes:
        board: What processes.
        native: Whether pedalboard does.
    """

    def __init__(self, items: list[Any]) -> None:
        self.native = not isinstance(items[0], _OURS)
        # A native board checks its plugins itself.
        self.board: Any = pedalboard.Pedalboard(items) if self.native else items[0]
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
        channels = audio.shape[0]
        if self.native:
            buffer_size = self._prepare(rate, channels, buffer_size)
        if reset:
            self._waiting, self._missing = None, 0
            return self.board.process(audio, rate, buffer_size, True)
        self._missing += audio.shape[1]
        if self._waiting is not None:
            audio = np.concatenate([self._waiting, audio], -1)
            self._waiting = None
        # pedalboard would take an array with no more frames than channels for another layout.
        if self.native and audio.shape[1] <= channels:
            self._waiting = audio
            return audio[:, :0]
        if not audio.shape[1]:
            return audio
        out = self.board.process(audio, rate, buffer_size, False)
        self._missing -= out.shape[1]
        return out

    def flush(self, audio: NDArray[np.float32], rate: int, buffer_size: int) -> NDArray[np.float32]:
        """(channels, n) and then the end of the stream: all that was still missing."""
        parts = [self.process(audio, rate, buffer_size, reset=False)]
        if not self.native:
            parts.append(self.board.flush())
        while self.native and self._missing:
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
        self.board.reset()


def _runs(items: list[Any]) -> list[list[Any]]:
    """Items grouped: every one of ours alone, native plugins with their neighbours."""
    runs: list[list[Any]] = []
    for item in items:
        if runs and not isinstance(item, _OURS) and not isinstance(runs[-1][0], _OURS):
            runs[-1].append(item)
        else:
            runs.append([item])
    return runs


def _processors(item: Any) -> list[Effect]:
    """The processors in an item of a board, however deep."""
    if isinstance(item, SeparationBoard):
        return [processor for inner in item for processor in _processors(inner)]
    return [item] if isinstance(item, Effect) else []


def _boards(item: Any) -> list[SeparationBoard]:
    if not isinstance(item, SeparationBoard):
        return []
    return [item, *(board for inner in item for board in _boards(inner))]
