"""The call contract of a pedalboard plugin around a streaming engine; pedalboard is not needed.

What a native plugin does was measured on pedalboard 0.9.26.
"""

from __future__ import annotations

import abc
import functools
import numbers
import threading
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.settings import Delta, Mode, Queries, Query, Settings
from plugin_bridge.effect.layout import Layout, check_audio_call
from plugin_bridge.effect.parameter import Parameter
from plugin_bridge.effect.ramp import Ramp

EffectOutputs = Literal["target", "residual"]

#: Before the first call, in Hz.
USUAL_RATE = 48_000


class Engine(Protocol):
    """What separates a stream into target and residual."""

    replaced_blocks: int

    @property
    def settings(self) -> Settings:
        """What is separated."""

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""

    @property
    def channels(self) -> int:
        """Of the stream."""

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input."""

    def change(self, delta: Delta) -> object:
        """Fold a change into the settings."""

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) to (2, channels, n)."""

    def flush(self) -> NDArray[np.float32]:
        """The last ``latency_samples`` frames."""

    def reset(self) -> None:
        """Forget all sound."""


class Effect(abc.ABC):
    """An effect that lets through what queries describe, or all but that.

    Calls, layouts, latency and errors are those of ``pedalboard.Plugin``. Any thread may use
    it; calls wait for each other. A copy, and what ``pickle`` restores, has the same settings and
    no sound.

    Args:
        settings: What to separate.
        mode: "render", "mix", "track", or windows of one's own.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        outputs: "target" or "residual", what is left of the input without the target.
    """

    is_effect = True
    is_instrument = False

    def __init__(self, settings: Settings, mode: Mode, mix: float, outputs: EffectOutputs) -> None:
        self._mode = mode
        self._check_settings(settings)
        #: Until there is an engine, which then holds them.
        self._first_settings = settings
        self._mix = _check_mix(mix)
        self._outputs = _check_outputs(outputs)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._layout: Layout | None = None
        self._levels = Ramp(self._goal())
        self._lead = 0
        self._fed = False

    @abc.abstractmethod
    def _make_engine(self, sample_rate: int, channels: int) -> Engine:
        """An engine of ``settings``, in place of ``_engine``, if there is one."""

    @abc.abstractmethod
    def _check_settings(self, settings: Settings) -> None:
        """Refuse settings that an engine would refuse.

        Raises:
            QueryError: A query cannot be encoded.
        """

    @abc.abstractmethod
    def _usual_latency(self) -> int:
        """Latency of an engine at 48 kHz, in samples."""

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, pickled or not, is an effect of its own with a stream of its own."""
        fresh = functools.partial(type(self), **self._arguments())
        return fresh, (self.settings,)

    def _arguments(self) -> dict[str, Any]:
        """What makes such an effect, but for the settings."""
        return {"mode": self._mode, "mix": self._mix, "outputs": self._outputs}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} queries={self.queries!r} mode={self._mode!r} "
            f"strength={self.strength:g} mix={self._mix:g} outputs={self._outputs!r}>"
        )

    @property
    def settings(self) -> Settings:
        """What is separated; :meth:`change` changes it."""
        engine = self._engine
        return self._first_settings if engine is None else engine.settings

    def change(self, delta: Delta) -> None:
        """Fold a change into the settings; it takes effect within one hop of the mode.

        Raises:
            QueryError: A query cannot be encoded; the settings are as they were.
        """
        with self._lock:
            if self._engine is not None:
                self._engine.change(delta)
                return
            settings = self._first_settings.changed(delta)
            self._check_settings(settings)
            self._first_settings = settings

    @property
    def queries(self) -> Queries:
        """What is separated; a new one takes effect within one hop of the mode."""
        plain = [
            query.text if query == Query(query.text) else query for query in self.settings.queries
        ]
        return plain[0] if len(plain) == 1 and isinstance(plain[0], str) else plain

    @queries.setter
    def queries(self, value: Queries) -> None:
        self.change(Delta(value))

    @property
    def strength(self) -> float:
        """Exponent of the masks; a new one takes effect within one hop of the mode."""
        return self.settings.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self.change(Delta(strength=value))

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
    def outputs(self) -> EffectOutputs:
        """What comes out, "target" or "residual"; a new one is reached within 480 frames."""
        return self._outputs

    @outputs.setter
    def outputs(self, value: EffectOutputs) -> None:
        with self._lock:
            self._outputs = _check_outputs(value)
            self._levels.aim(self._goal())

    @property
    def query(self) -> Queries:
        """The former name of ``queries``."""
        return self.queries

    @query.setter
    def query(self, value: Queries) -> None:
        self.queries = value

    @property
    def output(self) -> EffectOutputs:
        """The former name of ``outputs``."""
        return self.outputs

    @output.setter
    def output(self, value: EffectOutputs) -> None:
        self.outputs = value

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What can be set, by name, as ``pedalboard.VST3Plugin`` lists it."""
        listed = (
            Parameter("queries", self.queries),
            Parameter("strength", self.strength, 0.0, 10.0),
            Parameter("mix", self._mix, 0.0, 1.0),
            Parameter("outputs", self.outputs, valid_values=get_args(EffectOutputs)),
        )
        return {parameter.name: parameter for parameter in listed}

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
        """Separate a recording, or the next part of one.

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
            engine = self._engine
            running = (engine.channels, engine.sample_rate) if engine and self._fed else None
            given, layout, rate = check_audio_call(
                input_array, sample_rate, buffer_size, self._layout, running, reset
            )
            if not given.size:
                return np.zeros(given.shape, np.float32)
            engine = self._start(layout, rate, reset)
            self._layout = layout
            audio = layout.channels_first(given)
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
        return (1.0, dry) if self._outputs == "target" else (dry, 1.0)


def _check_mix(mix: float) -> float:
    if not isinstance(mix, numbers.Real) or not 0 <= mix <= 1:
        raise ValueError(f"mix must be a number from 0 to 1, not {mix!r}")
    return float(mix)


def _check_outputs(outputs: EffectOutputs) -> EffectOutputs:
    if outputs not in ("target", "residual"):
        raise ValueError(f"outputs must be 'target' or 'residual', not {outputs!r}")
    return outputs
