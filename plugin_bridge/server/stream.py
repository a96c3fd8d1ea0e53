"""One stream of a client: a thread that separates what comes in, block by block."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.windows import Steps
from plugin_bridge.live.latency import hop_samples, quantum_samples, step_samples
from plugin_bridge.protocol.messages import Changed, Failure, Latency, Reset
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.protocol.server_side import Block, Request
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.changes import PendingChange
from plugin_bridge.server.changing import ChangingStream
from plugin_bridge.server.engines import ServedModel, masks_within
from plugin_bridge.server.figures import Histogram
from plugin_bridge.server.inbox import Inbox
from plugin_bridge.server.memory import MemoryBudget
from plugin_bridge.server.outlet import Outlet

#: What a request counts for among them.
_REQUEST_BYTES = 1 << 12
#: Names of what a stream counts.
COUNTS = ("blocks", "late_blocks", "substituted_blocks", "substitutions", "replaced_blocks")
#: Seconds of sound between two snapshots.
_SNAPSHOT_SECONDS = 5.0
#: In the inbox: look whether a change can be made.
_WAKE = object()


class ServedStream(ChangingStream):
    """Separates one stream on a thread of its own; all that is known of the stream is in here.

    A block that will not need the network is separated by the thread that brings it: that takes
    less time than to hand it over.

    Args:
        number: Of the stream.
        request: What opened it.
        model: What runs it.
        outlet: Where its answers go.
        memory: Of its client.
        most_window: Seconds of the longest window of a mode of one's own.

    Raises:
        RefusedError: The request is impossible.
    """

    def __init__(
        self,
        number: int,
        request: StreamRequest,
        model: ServedModel,
        outlet: Outlet,
        memory: MemoryBudget,
        most_window: float = math.inf,
    ) -> None:
        super().__init__(number, request, model, memory, most_window)
        self.blocks = 0
        self.late_blocks = 0
        self.substituted_blocks = 0
        self.answers = Histogram()
        self._outlet = outlet
        #: Where the last snapshot was due.
        self._snapshot_at = self.position
        self._inbox = Inbox()
        #: Held by the thread that separates.
        self._working = threading.Lock()
        # Items handed over and worked off; each has one thread that counts it.
        self._handed_over = 0
        self._worked_off = 0
        self._thread = threading.Thread(target=self._run, name=f"stream {number}", daemon=True)
        self._thread.start()

    def put_block(self, block: Block, arrived: float) -> None:
        """Take audio; waits while too much is waiting already.

        Args:
            block: The audio.
            arrived: When its bytes came in (time.monotonic).
        """
        alone = self._handed_over == self._worked_off and not self._pending
        quick = alone and self._is_quiet(block.audio.shape[1]) and not self._inbox.ended
        if quick and self._working.acquire(blocking=False):
            try:
                self._answer(block, arrived)
            except Exception as error:
                self._outlet.failed(error)
            finally:
                self._working.release()
        else:
            self._hand_over((block, arrived), block.audio.nbytes)

    def announce(self, sequence: int) -> None:
        """Have OPENED sent, by the stream's own thread."""
        self._hand_over(sequence, _REQUEST_BYTES)

    def put_request(self, request: Request) -> None:
        """Take a FLUSH, a RESET, a CANCEL, a SNAPSHOT or a CLOSE."""
        self._hand_over(request, _REQUEST_BYTES + len(request.payload))

    def put_change(self, change: PendingChange) -> None:
        """Take a change; what comes behind it is separated behind it."""
        self._hand_over(change, _REQUEST_BYTES)
        if not change.ready.done():
            # Wakes the thread for a change whose position has passed while no audio comes.
            change.ready.add_done_callback(lambda _: self._inbox.put(_WAKE))

    def close(self, drain: bool = False) -> None:
        """End the thread, with ``drain`` after what has come in; see :meth:`join`."""
        self._inbox.close(drain)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def counts(self) -> dict[str, int]:
        """What the stream has counted so far, by the names in :data:`COUNTS`."""
        return {
            "blocks": self.blocks,
            "late_blocks": self.late_blocks,
            "substituted_blocks": self.substituted_blocks,
            "substitutions": self.estimator.late,
            "replaced_blocks": self.engine.replaced_blocks,
        }

    def statistics(self) -> dict[str, Any]:
        """Figures of the stream; nothing of its sound or its queries."""
        engine = self.engine
        return {
            "stream": self.number,
            "model": self.model.name,
            "sample_rate": engine.sample_rate,
            "channels": engine.channels,
            "contract": self.contract,
            "queries": len(engine.settings.queries),
            "latency": engine.latency_samples,
            "slack": self.slack,
            "hop": self._hop(),
            "position": self.position,
            **self.counts(),
            "network": self.estimator.waits.summary(),
            "answer": self.answers.summary(),
        }

    def _hand_over(self, item: Any, size: int) -> None:
        self._handed_over += 1
        self._inbox.put(item, size)

    def _is_quiet(self, count: int) -> bool:
        """Whether so many more frames need no network."""
        step = step_samples(self.engine.sample_rate, self.estimator.config)
        if step:
            return self.position % step + count < step
        return self.position + count <= self._quiet_until

    def _jitter(self) -> int:
        """Frames by which windows may be due earlier than a hop after the last."""
        config, rate = self.estimator.config, self.engine.sample_rate
        frame = hop_samples(Steps(1), config, rate)
        return quantum_samples(rate, config) + frame + 1

    def _run(self) -> None:
        try:
            while (item := self._inbox.get()) is not None:
                with self._working:
                    self._work_off(item)
                self._worked_off += item is not _WAKE
        except Exception as error:
            self._outlet.failed(error)
        finally:
            # Nobody may wait for room that nobody makes.
            self._inbox.close(drain=False)

    def _work_off(self, item: Any) -> None:
        if isinstance(item, tuple):
            self._answer(*item)
        elif isinstance(item, int):
            protocol = self._outlet.protocol
            self._outlet.send(protocol.send(self.number, item, self.opened()))
        elif isinstance(item, Request):
            if item.type == Type.CANCEL:
                self._cancel(item)
            elif item.type == Type.SNAPSHOT:
                self._resume(item)
            elif item.type == Type.CLOSE:
                self._inbox.close(drain=False)
                self._outlet.closed(item)
            else:
                self._end_recording(item)
        else:
            if isinstance(item, PendingChange):
                # Without a position it is meant for the frame that comes in next.
                item.position = item.position or self.position
                self._pending.append(item)
            self._apply_due(0)

    def _answer(self, block: Block, arrived: float) -> None:
        seconds = self.slack / self.engine.sample_rate
        due = arrived + seconds
        realtime = self.contract == "realtime"
        self.estimator.deadline = arrived + masks_within(seconds) if realtime else math.inf
        late, asked = self.estimator.late, self.estimator.waits.count
        rows = self._separate(block.audio)
        if self.estimator.waits.count > asked:
            self._quiet_until = self.position + self._hop() - self._jitter()
        substituted = self.estimator.late > late
        # Whoever has the answer finds it counted.
        self.blocks += 1
        self.substituted_blocks += substituted
        self._send_audio(block.sequence, rows, substituted)
        now = time.monotonic()
        self.answers.add(now - arrived)
        self.late_blocks += realtime and now > due
        if not realtime and self.request.snapshots:
            self._send_snapshot(block.sequence)

    def _send_snapshot(self, sequence: int) -> None:
        """Send one if enough sound came since the last; positions may have begun anew."""
        if abs(self.position - self._snapshot_at) < _SNAPSHOT_SECONDS * self.engine.sample_rate:
            return
        self._snapshot_at = self.position
        snapshot = self.engine.snapshot()
        if snapshot is not None:
            send_plain = self._outlet.protocol.send_plain
            self._outlet.send(send_plain(Type.SNAPSHOT, self.number, sequence, snapshot))

    def _resume(self, request: Request) -> None:
        try:
            self.engine.resume(request.payload)
        except ValueError as error:
            self._tell(request.sequence, Failure("bad-snapshot", str(error)))

    def _separate(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Separate a block, with the changes whose positions lie in it."""
        if not self._pending:
            return self.engine.process(audio)
        parts = []
        while audio.shape[1]:
            done = self._apply_due(audio.shape[1])
            parts.append(self.engine.process(np.ascontiguousarray(audio[:, :done])))
            audio = audio[:, done:]
        self._confirm()
        return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)

    def _end_recording(self, request: Request) -> None:
        if request.type == Type.FLUSH:
            self.estimator.deadline = math.inf
            tail = self.engine.flush()
            for start in range(0, tail.shape[-1], self.request.max_block):
                part = tail[..., start : start + self.request.max_block]
                self._send_audio(request.sequence, part, substituted=False)
        else:
            origin = request.message.origin if isinstance(request.message, Reset) else 0
            self.engine.reset(origin)
        self._quiet_until = 0
        self._snapshot_at = self.position
        self._forget_positions()
        self._confirm()
        self._apply_due(0)
        self._tell_done(request.sequence)

    def _tell_done(self, sequence: int) -> None:
        self._outlet.send(self._outlet.protocol.send_plain(Type.DONE, self.number, sequence))

    def _send_audio(self, sequence: int, rows: NDArray[np.float32], substituted: bool) -> None:
        protocol = self._outlet.protocol
        self._outlet.send(protocol.send_audio(self.number, sequence, rows, substituted))

    def _tell(self, sequence: int, message: Changed | Latency | Failure) -> None:
        self._outlet.send(self._outlet.protocol.send(self.number, sequence, message))
