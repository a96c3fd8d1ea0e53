"""Separation on a server with the call contract of a pedalboard plugin."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from audiosep_core.selection import Queries, check_levels, list_queries
from plugin_bridge.client.blocking import TIMEOUT_SECONDS, BridgeClient
from plugin_bridge.client.blocking_stream import BridgeStream
from plugin_bridge.effect import USUAL_RATE, Effect, Output
from plugin_bridge.modes import Mode


class BridgeProcessor(Effect):
    """An effect like :class:`plugin_bridge.AudioSepProcessor` whose network runs on a server.

    Every frame is separated (the contract "render"); nothing is asked of the server before the
    first call or the first look at ``reported_latency_samples``. :meth:`close` it in the end, or
    use it in a ``with`` statement.

    Args:
        query: What to separate: a text, a :class:`audiosep_core.selection.Query`, or several.
        mode: "render", "mix", "track" or :class:`plugin_bridge.WindowSeconds`.
        strength: Exponent of the masks, over 0 and up to 10.
        mix: Share of the effect in the output, 0 to 1; the rest is the input, equally late.
        output: "target" or "residual", what is left of the input without the target.
        model: Name of a model of the server; empty for its own.
        socket, tcp, host, token, timeout: As in :class:`plugin_bridge.BridgeClient`.

    Raises:
        QueryError: A query is empty or too long, or all are negative.
        ValueError: Another argument is impossible.
        AddressError: Socket and port are both given.
        BridgeError: From calls: no server answers, or the connection is lost.
    """

    def __init__(
        self,
        query: Queries,
        mode: Mode = "mix",
        *,
        strength: float = 1.0,
        mix: float = 1.0,
        output: Output = "target",
        model: str = "",
        socket: str | Path | None = None,
        tcp: int | None = None,
        host: str = "127.0.0.1",
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._client = BridgeClient(socket, tcp=tcp, host=host, token=token, timeout=timeout)
        self._model = model
        self._stream: BridgeStream | None = None
        self._known_latency: int | None = None
        super().__init__(query, mode, strength, mix, output)

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

    def _make_engine(self, sample_rate: int, channels: int) -> BridgeStream:
        stream = self._client.open(
            self._query,
            sample_rate,
            channels,
            self._mode,
            "render",
            outputs="target+residual",
            strength=self._strength,
            model=self._model,
        )
        if self._stream is not None:
            self._stream.close()
        self._stream = stream
        return stream

    def _check_settings(self, query: Queries, strength: float) -> None:
        list_queries(query)
        check_levels(strength, remainder_db=0)

    def _usual_latency(self) -> int:
        if self._known_latency is None:
            with self._client.open(
                self._query, USUAL_RATE, 1, self._mode, "render", model=self._model
            ) as stream:
                self._known_latency = stream.latency_samples
        return self._known_latency
