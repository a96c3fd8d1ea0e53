"""The call contract of a pedalboard plugin around a streaming engine; pedalboard is not needed.

What a native plugin does was measured on pedalboard 0.9.26.
"""

from __future__ import annotations

import abc
import numbers
import threading
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import LayoutError
from audiosep_core.selection import Queries
from plugin_bridge.layout import Layout, check_call, detect_layout
from plugin_bridge.modes import Mode
from plugin_bridge.ramp import Ramp

Output = Literal["target", "residual"]

#: Before the first call, in Hz.
USUAL_RATE = 48_000


class Engine(Protocol):
    """What separates a stream into target and residual."""

    strength: float
    replaced_blocks: int

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""

    @property
    def channels(self) -> int:
        """Of the stream."""

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input."""

    def set_queries(self, queries: Queries) -> None:
        """Separate something else."""

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) to (2, channels, n)."""

    def flush(self) -> NDArray[np.float32]:
        """The last ``latency_samples`` frames."""

    def reset(self) -> None:
        """Forget all sound."""


class Effect(abc.ABC):
    """An effect that lets through what queries describe, or all but that.

    Calls, layouts, latency and errors are those of ``pedalboard.Plugin``. Any thread may use
    it; calls wait for each other.

    Args:
        query: What to separate: a text, a :class:`audiosep_core.selection.Query`, or several.
        mode: "render", "mix", "track", or windows of one's own.
        strength: Exponent of the masks, over 0 and up to 10.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        output: "target" or "residual", what is left of the input without the target.
    """

    is_effect = True
    is_instrument = False

    def __init__(
        self, query: Queries, mode: Mode, strength: float, mix: float, output: Output
    ) -> None:
        self._mode = mode
        self._check_settings(query, strength)
        self._query = query
        self._strength = strength
        self._mix = _check_mix(mix)
        self._output = _check_output(output)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._layout: Layout | None = None
        self._levels = Ramp(self._goal())
        self._lead = 0
        self._fed = False

    @abc.abstractmethod
    def _make_engine(self, sample_rate: int, channels: int) -> Engine:
        """An engine of the present settings, in place of ``_engine``, if there is one."""

    @abc.abstractmethod
    def _check_settings(self, query: Queries, strength: float) -> None:
        """Refuse settings that an engine would refuse.

        Raises:
            QueryError: A query is empty or too long, or all are negative.
            ValueError: The strength is impossible.
        """

    @abc.abstractmethod
    def _usual_latency(self) -> int:
        """Latency of an engine at 48 kHz, in samples."""

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} query={self._query!r} mode={self._mode!r} "
            f"strength={self._strength:g} mix={self._mix:g} output={self._output!r}>"
        )

    @property
    def query(self) -> Queries:
        """What is separated; a new one takes effect within one hop of the mode."""
        return self._query

    @query.setter
    def query(self, value: Queries) -> None:
        with self._lock:
            if self._engine is None:
                self._check_settings(value, self._strength)
            else:
                self._engine.set_queries(value)
            self._query = value

    @property
    def strength(self) -> float:
        """Exponent of the masks; a new one takes effect within one hop of the mode."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        with self._lock:
            if self._engine is None:
                self._check_settings(self._query, value)
            else:
                self._engine.strength = value
            self._strength = value

    @property
    def mix(self) -> float:
        """Share of the effect in the output, 0 to 1; a new one is reached within 480 frames."""
        return self._mix

    @mix.setter
    def mix(self, value: float) -> None:
        with self._lock:
            self._mix = _check_mix(value)
            self._levels.aim(self._goal())

    @property
    def output(self) -> Output:
        """What comes out, "target" or "residual"; a new one is reached within 480 frames."""
        return self._output

    @output.setter
    def output(self, value: Output) -> None:
        with self._lock:
            self._output = _check_output(value)
            self._levels.aim(self._goal())

    @property
    def reported_latency_samples(self) -> int:
        """Latency at the rate of the last call, and before any call at 48 kHz."""
        engine = self._engine
        if engine is not None:
            return engine.latency_samples
        return self._usual_latency()

    @property
    def replaced_blocks(self) -> int:
        """Blocks of the running stream with NaN or infinity that silence took the place of."""
        return 0 if self._engine is None else self._engine.replaced_blocks

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
        """Separate a recording, or the next part of one.

        Args:
            input_array: (channels, frames), (frames, channels) or (frames,), float32 or
                float64; the smaller axis holds the channels.
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
            LayoutError: The array is no audio, or has other channels than its stream.
            ValueError: The sample rate or the buffer size is impossible, the rate is not that
                of the stream, or with ``reset`` the array holds NaN or infinity.
        """
        rate = check_call(sample_rate, buffer_size)
        with self._lock:
            layout = detect_layout(input_array, self._layout)
            if not input_array.size:
                return np.zeros(input_array.shape, np.float32)
            if reset:
                if not np.isfinite(input_array).all():
                    raise ValueError("audio holds NaN or infinite samples; repair it first")
            else:
                self._check_same_stream(layout, rate)
            engine = self._start(layout, rate, reset)
            self._layout = layout
            audio = layout.channels_first(input_array)
            parts = [
                engine.process(np.ascontiguousarray(audio[:, at : at + buffer_size]))
                for at in range(0, audio.shape[1], buffer_size)
            ]
            self._fed = True
            if reset:
                parts.append(engine.flush())
            out = self._late(np.concatenate(parts, -1))
            if reset:
                # As in pedalboard, a stream that goes on from here lost its latency already.
                self._lead, self._fed = 0, False
            return layout.restore(self._levels.blend(out))

    def flush(self) -> NDArray[np.float32]:
        """End a stream of calls with ``reset=False``: the frames that they held back.

        The next call starts a new stream.

        Returns:
            float32 in the layout of the last call; no frames if there is no stream.
        """
        with self._lock:
            layout = self._layout or Layout("channels first", 1)
            if self._engine is None or not self._fed:
                return layout.restore(np.zeros((layout.channels, 0), np.float32))
            out = layout.restore(self._levels.blend(self._late(self._engine.flush())))
            self._restart()
            return out

    def reset(self) -> None:
        """Forget all sound; the next call starts a new stream."""
        with self._lock:
            self._restart()

    def _restart(self) -> None:
        if self._engine is not None:
            self._engine.reset()
            self._lead = self._engine.latency_samples
        self._fed = False
        self._levels.jump(self._goal())

    def _check_same_stream(self, layout: Layout, rate: int) -> None:
        engine = self._engine
        if engine is None or not self._fed:
            return
        if rate != engine.sample_rate:
            raise ValueError(
                f"the stream runs at {engine.sample_rate} Hz, this call is at {rate} Hz; "
                "call flush() or reset() first"
            )
        if layout.channels != engine.channels:
            raise LayoutError(
                f"the stream has {engine.channels} channels, this call has {layout.channels}; "
                "call flush() or reset() first"
            )

    def _start(self, layout: Layout, rate: int, reset: bool) -> Engine:
        """The engine for a call, fresh where the call starts a stream."""
        engine = self._engine
        if engine is None or (rate, layout.channels) != (engine.sample_rate, engine.channels):
            engine = self._make_engine(rate, layout.channels)
            self._engine = engine
            self._restart()
        elif reset:
            self._restart()
        return engine

    def _late(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Without what is left of the leading latency."""
        dropped = min(self._lead, rows.shape[-1])
        self._lead -= dropped
        return rows[..., dropped:]

    def _goal(self) -> tuple[float, float]:
        """Levels of target and residual."""
        dry = 1.0 - self._mix
        return (1.0, dry) if self._output == "target" else (dry, 1.0)


def _check_mix(mix: float) -> float:
    if not isinstance(mix, numbers.Real) or not 0 <= mix <= 1:
        raise ValueError(f"mix must be a number from 0 to 1, not {mix!r}")
    return float(mix)


def _check_output(output: Output) -> Output:
    if output not in ("target", "residual"):
        raise ValueError(f"output must be 'target' or 'residual', not {output!r}")
    return output
