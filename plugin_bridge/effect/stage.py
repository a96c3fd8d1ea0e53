"""What our boards, mixes and splits share: pedalboard's calls around parts that are in time."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plugin_bridge.effect.layout import Layout, check_audio_call


class Stage(abc.ABC):
    """Something that audio is sent through, with the call contract of ``pedalboard.Plugin``."""

    is_effect = True
    is_instrument = False

    def __init__(self) -> None:
        self._layout: Layout | None = None
        #: Channels and rate of the stream that is running.
        self._stream: tuple[int, int] | None = None
        self._buffer_size = 1
        #: Frames beyond what a call may return, (channels, n).
        self._surplus: NDArray[np.float32] | None = None

    @property
    @abc.abstractmethod
    def parts(self) -> Sequence[Any]:
        """The plugins, processors and stages that it holds."""

    @property
    @abc.abstractmethod
    def reported_latency_samples(self) -> int:
        """Samples that a stream holds back."""

    @abc.abstractmethod
    def push(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """(channels, n) through; with ``reset`` as many frames come out, in time."""

    @abc.abstractmethod
    def finish(self, channels: int, rate: int, buffer_size: int) -> NDArray[np.float32]:
        """The end of the stream: all frames that are still missing."""

    @abc.abstractmethod
    def forget(self) -> None:
        """Forget all sound."""

    def __copy__(self) -> Any:
        """Refused: both would send their sound through the same plugins.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"a copied {type(self).__name__} would share its plugins with the first one; use "
            "copy.deepcopy, or make one with plugins of its own"
        )

    def __call__(
        self,
        input_array: ArrayLike,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> NDArray[np.float32]:
        """The same as :meth:`process`."""
        return self.process(input_array, sample_rate, buffer_size, reset)

    def process(
        self,
        input_array: ArrayLike,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> NDArray[np.float32]:
        """Send a recording, or the next part of one, through all parts.

        Arguments, result and errors are those of :meth:`plugin_bridge.AudioSepProcessor.process`.
        """
        given, layout, rate = check_audio_call(
            input_array, sample_rate, buffer_size, self._layout, self._stream, reset
        )
        if not given.size:
            return np.zeros(given.shape, np.float32)
        stream = None if reset else (layout.channels, rate)
        audio = self.push(layout.channels_first(given), rate, buffer_size, reset)
        self._layout, self._stream, self._buffer_size = layout, stream, buffer_size
        if stream:
            audio = self._take(audio, given.size // layout.channels)
        return layout.restore(audio)

    def flush(self) -> NDArray[np.float32]:
        """End a stream of calls with ``reset=False``: the frames that all parts held back.

        Tails of reverbs and delays beyond the end of the input are not among them, as in
        pedalboard. The next call starts a new stream.

        Returns:
            float32 in the layout of the last call.
        """
        layout = self._layout or Layout("channels first", 1)
        audio = np.zeros((layout.channels, 0), np.float32)
        if self._stream:
            audio = self._take(self.finish(*self._stream, self._buffer_size), None)
            self.reset()
        return layout.restore(audio)

    def reset(self) -> None:
        """Forget all sound; the next call starts a new stream."""
        self._stream = self._surplus = None
        self.forget()

    def _take(self, audio: NDArray[np.float32], count: int | None) -> NDArray[np.float32]:
        """At most ``count`` frames of what is there; the rest is kept."""
        if self._surplus is not None:
            audio = np.concatenate([self._surplus, audio], -1)
        self._surplus = None if count is None else audio[:, count:]
        return audio[:, :count]
