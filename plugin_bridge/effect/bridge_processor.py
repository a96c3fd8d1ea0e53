"""Separation on a server with the call contract of a pedalboard plugin."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from audiosep_core.settings import Mode, Queries, Settings
from plugin_bridge.client.sync.client import BridgeClient
from plugin_bridge.client.sync.stream import BridgeStream
from plugin_bridge.effect.compensation import USUAL_RATE
from plugin_bridge.effect.effect import Effect, EffectOutputs


class BridgeProcessor(Effect):
    """An effect like :class:`plugin_bridge.AudioSepProcessor` whose network runs on a server.

    Every frame is separated (the contract "render"); nothing is asked of the server before the
    first call or the first look at ``reported_latency_samples``. :meth:`close` it in the end, or
    use it in a ``with`` statement.

    Args:
        queries: What to separate: a text, a :class:`audiosep_core.Query`, several, or
            :class:`audiosep_core.Settings`.
        mode: "render", "mix", "track" or :class:`plugin_bridge.WindowSeconds`.
        strength: Exponent of the masks, over 0 and up to 10; 1 if not given.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        outputs: "target" or "residual", what is left of the input without the target.
        model: Name of a model of the server; empty for its own.
        client: ``socket``, ``tcp``, ``host``, ``token`` and ``timeout``, as in
            :class:`plugin_bridge.BridgeClient`.

    Raises:
        QueryError: A query is empty or too long, or all are negative.
        ValueError: Another argument is impossible.
        AddressError: Socket and port are both given.
        BridgeError: From calls: no server answers, or the connection is lost.
    """

    def __init__(
        self,
        queries: Queries | Settings,
        mode: Mode = "mix",
        *,
        strength: float | None = None,
        mix: float = 1.0,
        outputs: EffectOutputs = "target",
        model: str = "",
        **client: Any,
    ) -> None:
        self._client = BridgeClient(**client)
        self._reached_by, self._model = client, model
        self._served: BridgeStream | None = None
        self._known_latency: int | None = None
        super().__init__(Settings.of(queries, strength), mode, mix, outputs)

    def __enter__(self) -> BridgeProcessor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; what is held back is lost."""
        with self._lock:
            self._client.close()

    def _arguments(self) -> dict[str, Any]:
        # The token, where one is given, travels with a pickle.
        return {**super()._arguments(), "model": self._model, **self._reached_by}

    def _make_engine(self, sample_rate: int, channels: int) -> BridgeStream:
        stream = self._client.open(
            self.settings,
            sample_rate,
            channels,
            self._mode,
            "render",
            outputs="target+residual",
            model=self._model,
        )
        if self._served is not None:
            self._served.close()
        self._served = stream
        return stream

    def _check_settings(self, settings: Settings) -> None:
        """What the server refuses is told by the first call."""

    def _usual_latency(self) -> int:
        if self._known_latency is None:
            with self._client.open(
                self.settings, USUAL_RATE, 1, self._mode, "render", model=self._model
            ) as stream:
                self._known_latency = stream.latency_samples
        return self._known_latency
