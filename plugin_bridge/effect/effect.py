"""A streaming engine as a stage: target or residual, with the input mixed in."""

from __future__ import annotations

import abc
import functools
import numbers
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from audiosep_core.settings import Delta, Mode, Queries, Query, Settings
from plugin_bridge.effect.compensation import Compensated, Engine
from plugin_bridge.effect.parameter import Parameter
from plugin_bridge.effect.ramp import Ramp
from plugin_bridge.effect.stage import Stage

EffectOutputs = Literal["target", "residual"]


class Effect(Stage):
    """An effect that lets through what queries describe, or all but that.

    A copy, and what ``pickle`` restores, has the same settings and no sound.

    Args:
        settings: What to separate.
        mode: "render", "mix", "track", or windows of one's own.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        outputs: "target" or "residual", what is left of the input without the target.
    """

    def __init__(self, settings: Settings, mode: Mode, mix: float, outputs: EffectOutputs) -> None:
        super().__init__()
        self._mode = mode
        self._check_settings(settings)
        #: Until there is an engine, which then holds them.
        self._first_settings = settings
        self._mix = _check_mix(mix)
        self._outputs = _check_outputs(outputs)
        self._compensated: Compensated[Engine] = Compensated(self._make_engine)
        self._levels = Ramp(self._goal())

    @abc.abstractmethod
    def _make_engine(self, sample_rate: int, channels: int) -> Engine:
        """An engine of ``settings`` that gives target and residual, in place of the last one."""

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
    def _engine(self) -> Engine | None:
        return self._compensated.engine

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

    def push(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """As :meth:`Stage.push`."""
        with self._lock:
            self._start(audio.shape[0], rate, reset)
            return self._levels.blend(self._compensated.process(audio, buffer_size, whole=reset))

    def finish(self, channels: int, rate: int, buffer_size: int) -> NDArray[np.float32]:
        """As :meth:`Stage.finish`."""
        with self._lock:
            self._start(channels, rate, anew=False)
            return self._levels.blend(self._compensated.flush())

    def forget(self) -> None:
        """As :meth:`Stage.forget`."""
        with self._lock:
            self._compensated.reset()
            self._levels.jump(self._goal())

    def _start(self, channels: int, rate: int, anew: bool) -> None:
        if self._compensated.start(channels, rate, anew):
            self._levels.jump(self._goal())

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
