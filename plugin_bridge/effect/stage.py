"""The call contract of a pedalboard plugin; pedalboard is not needed.

What a native plugin does was measured on pedalboard 0.9.26.
"""

from __future__ import annotations

import abc
import threading

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plugin_bridge.effect.layout import Layout, check_audio_call


class Stage(abc.ABC):
    """Something that audio is sent through.

    Calls, layouts, latency and errors are those of ``pedalboard.Plugin``. Any thread may use it;
    calls wait for each other.
    """

    is_effect = True
    is_instrument = False

    def __init__(self) -> None:
        #: Held by every call; a call makes others.
        self._lock = threading.RLock()
        self._layout: Layout | None = None
        #: Channels and rate of the stream that is running.
        self._stream: tuple[int, int] | None = None
        self._buffer_size = 1
        #: Frames beyond what a call may return, (channels, n).
        self._surplus: NDArray[np.float32] | None = None

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
        """Send a recording, or the next part of one, through the stage.

        Args:
            input_array: (channels, frames), (frames, channels) or (frames,), floating point;
                the smaller axis holds the channels.
            sample_rate: In Hz, a whole number of at least 1,000.
            buffer_size: Frames that are taken at a time, at least 1; NaN or infinity in a
                running stream silences as much.
            reset: Take the array as a whole recording. Otherwise as the next part of a
                stream: its first calls return up to ``reported_latency_samples`` frames less,
                which :meth:`flush` returns in the end.

        Returns:
            float32 in the layout of the input: with ``reset`` as many frames as the input, in
            time with it.

        Raises:
            TypeError: The array is not floating point, or another argument is no number.
            LayoutError: The array is no audio, or has other channels or another rate than its
                stream.
            ValueError: The sample rate or the buffer size is impossible, with ``reset`` the array
                holds NaN or infinity, or a recording or stream begins with samples over 1,000:
                integers that were not scaled.
        """
        with self._lock:
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
        """End a stream of calls with ``reset=False``: the frames that they held back.

        Tails of reverbs and delays beyond the end of the input are not among them, as in
        pedalboard. The next call starts a new stream.

        Returns:
            float32 in the layout of the last call; no frames if there is no stream.
        """
        with self._lock:
            layout = self._layout or Layout("channels first", 1)
            audio = np.zeros((layout.channels, 0), np.float32)
            if self._stream:
                audio = self._take(self.finish(*self._stream, self._buffer_size), None)
                self.reset()
            return layout.restore(audio)

    def reset(self) -> None:
        """Forget all sound; the next call starts a new stream."""
        with self._lock:
            self._stream = self._surplus = None
            self.forget()

    def _take(self, audio: NDArray[np.float32], count: int | None) -> NDArray[np.float32]:
        """At most ``count`` frames of what is there; the rest is kept."""
        if self._surplus is not None:
            audio = np.concatenate([self._surplus, audio], -1)
        self._surplus = None if count is None else audio[:, count:]
        return audio[:, :count]
