"""Separation in this process with the call contract of a pedalboard plugin."""

from __future__ import annotations

from pathlib import Path

from audiosep_core.device import Device
from audiosep_core.models import DEFAULT_MODEL
from audiosep_core.selection import Queries, select
from audiosep_core.separator import Separator
from plugin_bridge.effect import USUAL_RATE, Effect, Output
from plugin_bridge.engine import StreamingSeparator
from plugin_bridge.latency import stream_latency
from plugin_bridge.modes import Mode, mode_windows


class AudioSepProcessor(Effect):
    """An effect that lets through what queries describe, or all but that.

    Calls, layouts, latency and errors are those of ``pedalboard.Plugin``. Any thread may use
    it; calls wait for each other.

    Args:
        query: What to separate: a text, a :class:`audiosep_core.selection.Query`, or several.
        mode: "render", "mix", "track", or windows of one's own.
        model: Name of an installed model, path of a bundle, or a loaded separator.
        strength: Exponent of the masks, over 0 and up to 10.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        output: "target" or "residual", what is left of the input without the target.
        device: Where the network runs, "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
        QueryError: A query is empty or too long, or all are negative.
        ValueError: Another argument is impossible.
        BundleError: The model is unknown or damaged.
    """

    def __init__(
        self,
        query: Queries,
        mode: Mode = "mix",
        model: str | Path | Separator = DEFAULT_MODEL,
        *,
        strength: float = 1.0,
        mix: float = 1.0,
        output: Output = "target",
        device: Device = "auto",
        threads: int = 0,
    ) -> None:
        separator = model if isinstance(model, Separator) else Separator(model, device, threads)
        self._separator = separator
        self._windows = mode_windows(mode, separator.bundle)
        super().__init__(query, mode, strength, mix, output)

    def _make_engine(self, sample_rate: int, channels: int) -> StreamingSeparator:
        return StreamingSeparator(
            self._query,
            sample_rate,
            channels,
            self._windows,
            self._separator,
            outputs="target+residual",
            strength=self._strength,
        )

    def _check_settings(self, query: Queries, strength: float) -> None:
        select(query, self._separator.encoder, strength)

    def _usual_latency(self) -> int:
        return stream_latency(self._windows, self._separator.bundle.config, USUAL_RATE).total
