"""Separation in this process with the call contract of a pedalboard plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiosep_core.model.installed import default_model
from audiosep_core.separator import Separator
from audiosep_core.settings import Mode, Queries, Settings
from plugin_bridge.effect.compensation import USUAL_RATE
from plugin_bridge.effect.effect import Effect, EffectOutputs
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import mode_windows


class AudioSepProcessor(Effect):
    """An effect that lets through what queries describe, or all but that.

    Calls, layouts, latency and errors are those of ``pedalboard.Plugin``. Any thread may use
    it; calls wait for each other.

    Args:
        queries: What to separate: a text, a :class:`audiosep_core.Query`, several, or
            :class:`audiosep_core.Settings`.
        mode: "render", "mix", "track", "live", or windows of one's own.
        model: Name of an installed model, path of a bundle, or a loaded separator; by default
            "mini", in mode "live" the model of that name.
        strength: Exponent of the masks, over 0 and up to 10; 1 if not given.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        outputs: "target" or "residual", what is left of the input without the target.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
        QueryError: A query is empty or too long, or all are negative.
        ValueError: Another argument is impossible.
        BundleError: The model is unknown or damaged.
    """

    def __init__(
        self,
        queries: Queries | Settings,
        mode: Mode = "mix",
        model: str | Path | Separator | None = None,
        *,
        strength: float | None = None,
        mix: float = 1.0,
        outputs: EffectOutputs = "target",
    ) -> None:
        separator = (
            model if isinstance(model, Separator) else Separator(model or default_model(mode))
        )
        self._separator = separator
        self._windows = mode_windows(mode, separator.bundle)
        super().__init__(Settings.of(queries, strength), mode, mix, outputs)

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "model": self._separator}

    def _make_engine(self, sample_rate: int, channels: int) -> StreamingSeparator:
        return StreamingSeparator(
            self.settings,
            sample_rate,
            channels,
            self._windows,
            self._separator,
            outputs="target+residual",
        )

    def _check_settings(self, settings: Settings) -> None:
        self._separator.encoder.embed(settings.asked)

    def _usual_latency(self) -> int:
        return stream_latency(self._windows, self._separator.bundle.config, USUAL_RATE).total
