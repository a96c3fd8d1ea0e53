"""What the streams of one client may hold in memory."""

from __future__ import annotations

import threading

from plugin_bridge.live.latency import hop_samples, stream_latency
from plugin_bridge.live.modes import mode_windows
from plugin_bridge.protocol.messages import Failure
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.server.engines import ServedModel
from plugin_bridge.server.refusal import RefusedError, refusing

#: Of a sample, where it lies and where it is copied to.
_SAMPLE_BYTES = 2 * 4


def held_bytes(request: StreamRequest, model: ServedModel) -> int:
    """Bytes of sound that a stream holds, as PROTOCOL.md counts them.

    Args:
        request: What opens it; its slack is known.
        model: What runs it.

    Raises:
        RefusedError: The model cannot keep to the mode.
    """
    form, config = request.format, model.network.config
    with refusing():
        slack = (request.slack or 0) / form.sample_rate
        windows = mode_windows(form.mode, model.separator.bundle, slack)
    frames = stream_latency(windows, config, form.sample_rate).total
    frames += hop_samples(windows, config, form.sample_rate) + request.max_block
    return _SAMPLE_BYTES * form.channels * (1 + form.rows(request.settings)) * frames


class MemoryBudget:
    """Bytes of one client's streams, within a limit.

    Args:
        most: Bytes of all of them together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, stream: int, count: int) -> None:
        """Let a stream hold so many bytes, or keep the more that it has.

        Raises:
            RefusedError: There is no room for them.
        """
        with self._lock:
            others = sum(self._held.values()) - self._held.get(stream, 0)
            if others + count > self._most:
                full = (
                    f"the streams of a connection hold {self._most} bytes at most, these "
                    f"{others + count}; close one, or ask for fewer channels, rows or less latency"
                )
                raise RefusedError(Failure("limit", full))
            self._held[stream] = max(count, self._held.get(stream, 0))

    def release(self, stream: int) -> None:
        """A stream has ended, or was not opened."""
        with self._lock:
            self._held.pop(stream, None)
