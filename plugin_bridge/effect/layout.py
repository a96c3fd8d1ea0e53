"""Arrays as pedalboard takes them: channels first or last, or no axis for them at all."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.arrays import floating
from audiosep_core.errors import LayoutError
from audiosep_core.separator import check_scale
from audiosep_core.settings import check_sample_rate

Order = Literal["flat", "channels first", "frames first"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How audio lies in an array.

    Attributes:
        order: (frames,), (channels, frames) or (frames, channels).
        channels: Number of channels.
    """

    order: Order
    channels: int

    def channels_first(self, audio: NDArray) -> NDArray[np.float32]:
        """An array of this layout as contiguous (channels, frames) float32."""
        if self.order == "flat":
            audio = audio[None]
        elif self.order == "frames first":
            audio = audio.T
        return np.ascontiguousarray(audio, np.float32)

    def restore(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, frames) in this layout."""
        if self.order == "flat":
            return audio[0]
        return np.ascontiguousarray(audio.T) if self.order == "frames first" else audio

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape can have this layout."""
        if self.order == "flat":
            return len(shape) == 1
        axis = 0 if self.order == "channels first" else 1
        return len(shape) == 2 and shape[axis] == self.channels


def detect_layout(audio: NDArray, known: Layout | None) -> Layout:
    """The layout of an array, as pedalboard finds it: the smaller axis holds the channels.

    Args:
        audio: Floating point.
        known: The layout of the array before. What fits it is taken to have it, too: a square
            array, and a block shorter than its number of channels.

    Raises:
        TypeError: It is not floating point.
        LayoutError: It has no or more than two dimensions, or is square and no layout is known.
    """
    if audio.ndim == 1:
        return Layout("flat", 1)
    if audio.ndim != 2:
        raise LayoutError(
            f"audio must be (channels, frames), (frames, channels) or (frames,), not {audio.shape}"
        )
    rows, columns = audio.shape
    if known is not None and known.fits(audio.shape) and known.channels >= min(rows, columns):
        return known
    if rows < columns:
        return Layout("channels first", rows)
    if columns < rows:
        return Layout("frames first", columns)
    if known is not None and known.order != "flat":
        return Layout(known.order, rows)
    raise LayoutError(
        f"the shape {audio.shape} does not tell channels from frames; give an array that is not "
        "square first"
    )


def check_call(sample_rate: float, buffer_size: int) -> int:
    """The sample rate as a whole number, if both arguments of a call are possible.

    Raises:
        TypeError: One is no number.
        ValueError: The sample rate is no whole number of at least 1,000, or the buffer is empty.
    """
    if not isinstance(sample_rate, numbers.Real):
        raise TypeError(f"sample_rate must be a number, not {type(sample_rate).__name__}")
    if not isinstance(buffer_size, numbers.Integral):
        raise TypeError(f"buffer_size must be an integer, not {type(buffer_size).__name__}")
    if buffer_size < 1:
        raise ValueError(f"buffer_size must be at least 1, not {buffer_size}")
    return check_sample_rate(float(sample_rate))


def check_audio_call(
    input_array: ArrayLike,
    sample_rate: float,
    buffer_size: int,
    known: Layout | None,
    stream: tuple[int, int] | None,
    reset: bool,
) -> tuple[NDArray, Layout, int]:
    """The arguments of a call of ``process``, if all of them are possible.

    Args:
        input_array: As it was given.
        sample_rate: In Hz.
        buffer_size: In frames.
        known: The layout of the array before.
        stream: Channels and rate of the stream that is running, or None.
        reset: Whether the array is a whole recording.

    Returns:
        The array, its layout, and the sample rate.

    Raises:
        TypeError: The array is not floating point, or another argument is no number.
        LayoutError: The array is no audio, or has other channels or another rate than its stream.
        ValueError: The sample rate or the buffer size is impossible, with ``reset`` the array
            holds NaN or infinity, or a recording or stream begins with integers that were not
            scaled.
    """
    rate = check_call(sample_rate, buffer_size)
    given = floating(input_array)
    layout = detect_layout(given, known)
    if not given.size:
        return given, layout, rate
    if reset and not np.isfinite(given).all():
        raise ValueError("audio holds NaN or infinite samples; repair it first")
    if not reset and stream is not None and stream != (layout.channels, rate):
        raise LayoutError(
            f"the stream has {stream[0]} channels at {stream[1]} Hz, this call has "
            f"{layout.channels} at {rate} Hz; call flush() or reset() first"
        )
    if reset or stream is None:
        check_scale(given)
    return given, layout, rate
