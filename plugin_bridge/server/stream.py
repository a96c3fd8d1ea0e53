"""One stream of a client: a thread that separates what comes in, block by block."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.settings import Delta
from audiosep_core.signal.windows import Steps
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import hop_samples, preroll_samples, quantum_samples
from plugin_bridge.protocol.messages import (
    Cancel,
    Change,
    Changed,
    Contract,
    Failure,
    Latency,
    Opened,
    Reset,
)
from plugin_bridge.protocol.request import StreamDelta, StreamRequest
from plugin_bridge.protocol.server_side import Block, Request
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.batching import batched
from plugin_bridge.server.changes import PendingChange, PreparedChange
from plugin_bridge.server.engines import (
    ServedModel,
    check_slack,
    make_engine,
    masks_within,
    resolve,
)
from plugin_bridge.server.figures import Histogram
from plugin_bridge.server.inbox import Inbox
from plugin_bridge.server.memory import Memory, held_bytes
from plugin_bridge.server.outlet import Outlet
from plugin_bridge.server.refusal import RefusedError, refusing

#: What a request counts for among them.
_REQUEST_BYTES = 1 << 12
#: Names of what a stream counts.
COUNTS = ("blocks", "late_blocks", "substituted_blocks", "substitutions", "replaced_blocks")
#: In the inbox: look whether a change can be made.
_WAKE = object()


class ServedStream:
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

    Attributes:
        request: What holds now; replaced whole when a change takes effect.
        engine: Separates by it.
        estimator: What the engine asks for masks.

    Raises:
        RefusedError: The request is impossible.
    """

    def __init__(
        self,
        number: int,
        request: StreamRequest,
        model: ServedModel,
        outlet: Outlet,
        memory: Memory,
        most_window: float = math.inf,
    ) -> None:
        self.number = number
        self.model = model
        self._chooses_slack = request.slack is None
        self.request = resolve(request, model.separator.bundle)
        self.estimator = batched(model.network, model.urgent, model.patient)
        self._memory = memory
        self._most_window = most_window
        with refusing():
            model.embed(request.settings.texts)
        self.engine = self._make_engine(self.request)
        self.blocks = 0
        self.late_blocks = 0
        self.substituted_blocks = 0
        self.answers = Histogram()
        self._outlet = outlet
        self._inbox = Inbox()
        self._pending: list[PendingChange] = []
        #: Held by the thread that separates.
        self._working = threading.Lock()
        # Items handed over and worked off; each has one thread that counts it.
        self._handed_over = 0
        self._worked_off = 0
        #: Position up to which the network is not expected to be asked again.
        self._quiet_until = 0
        self._thread = threading.Thread(target=self._run, name=f"stream {number}", daemon=True)
        self._thread.start()

    @property
    def position(self) -> int:
        """Frame of the mixture that comes in next."""
        return self.engine.position

    @property
    def contract(self) -> Contract:
        """The one that holds now."""
        return self.request.contract

    @property
    def slack(self) -> int:
        """Frames within which a block is answered in the contract "realtime"."""
        return self.request.slack or 0

    def opened(self) -> Opened:
        """What OPENED says of the stream."""
        engine = self.engine
        return Opened(
            latency=engine.latency_samples,
            slack=self.slack,
            hop=self._hop(),
            rows=engine.rows,
            model=self.model.name,
            preroll=preroll_samples(engine.windows, self.estimator.config, engine.sample_rate),
            answer_bytes=self.request.answer_bytes,
        )

    def put_block(self, block: Block, arrived: float) -> None:
        """Take audio; waits while too much is waiting already.

        Args:
            block: The audio.
            arrived: When its bytes came in (time.monotonic).
        """
        alone = self._handed_over == self._worked_off and not self._pending
        quiet = self.position + block.audio.shape[1] <= self._quiet_until
        if alone and quiet and not self._inbox.ended and self._working.acquire(blocking=False):
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
        """Take a FLUSH, a RESET, a CANCEL or a CLOSE."""
        self._hand_over(request, _REQUEST_BYTES)

    def is_quick(self, message: Change) -> bool:
        """Whether :meth:`prepare` takes no time: no text to encode, no engine to build."""
        if message.mode is not None:
            return False
        return (
            message.queries is None
            or self.model.known([query.text.strip() for query in message.queries]) is not None
        )

    @property
    def waiting_changes(self) -> int:
        """Changes that are not in effect yet."""
        return len(self._pending)

    def prepare(self, message: Change) -> PreparedChange:
        """What a change comes to; encodes its queries. May be called on any thread.

        Raises:
            RefusedError: It is impossible, whatever holds when its position comes.
        """
        with refusing():
            delta = StreamDelta.heard(message)
            embeddings = engine = None
            if delta.settings.queries is not None:
                texts = [query.text for query in delta.settings.queries]
                embeddings = self.model.known(texts)
                if embeddings is None:
                    embeddings = self.model.embed(texts)
            if delta.mode is not None:
                # What is asked of it is told when it takes over.
                other = self._changed(StreamDelta(mode=delta.mode))
                engine = self._make_engine(other)
            return PreparedChange(delta, embeddings, engine)

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

    def _changed(self, delta: StreamDelta) -> StreamRequest:
        """The request with a change folded in, and the slack of its mode where that is ours."""
        request = self.request.changed(delta)
        if delta.mode is not None and self._chooses_slack:
            request = dataclasses.replace(request, slack=None)
            request = resolve(request, self.model.separator.bundle)
        return request

    def _make_engine(self, request: StreamRequest) -> StreamingSeparator:
        self._memory.take(self.number, held_bytes(request, self.model))
        return make_engine(request, self.model, self.estimator, self._most_window)

    def _hop(self) -> int:
        engine = self.engine
        return hop_samples(engine.windows, self.estimator.config, engine.sample_rate)

    def _hand_over(self, item: Any, size: int) -> None:
        self._handed_over += 1
        self._inbox.put(item, size)

    def _jitter(self) -> int:
        """Frames by which the network may be asked earlier than a hop after the last time."""
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

    def _separate(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Separate a block, with the changes whose positions lie in it."""
        parts = []
        while audio.shape[1]:
            done = self._apply_due(audio.shape[1])
            parts.append(self.engine.process(np.ascontiguousarray(audio[:, :done])))
            audio = audio[:, done:]
        self._confirm()
        return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)

    def _apply_due(self, frames: int) -> int:
        """Give the engine what is ready, tell how many of the next frames come before a break."""
        for change in list(self._pending):
            ahead = change.position - self.position
            if change.scheduled is not None or change not in self._pending:
                continue
            if not change.ready.done():
                # Audio waits for queries in the contract "render" only.
                if self.contract == "realtime" or not frames:
                    continue
                if ahead > 0:
                    frames = min(frames, ahead)
                    continue
            self._apply(change)
            if change.scheduled is None and change in self._pending:
                frames = min(frames, change.position - self.position)
        return frames

    def _apply(self, change: PendingChange) -> None:
        """Fold a change into the request; one that is refused leaves nothing behind."""
        try:
            prepared = change.ready.result()
            with refusing():
                if change.waits_for_input:
                    if change.position > self.position:
                        return
                    request = self._changed(prepared.delta)
                    check_slack(request)
                else:
                    self._changed(prepared.delta)
                settings, position = prepared.delta.settings, change.position
                if prepared.engine is not None:
                    self._replace(change.sequence, prepared.engine, request)
                    position = 0
                change.scheduled = self.engine.schedule(settings, prepared.embeddings, position)
        except RefusedError as error:
            self._pending.remove(change)
            self._tell(change.sequence, error.failure)
            return
        self._confirm()

    def _replace(self, sequence: int, engine: StreamingSeparator, request: StreamRequest) -> None:
        """Go on with an engine of another mode and its slack; all sound is forgotten."""
        before = self.engine
        self.request = dataclasses.replace(self.request, format=request.format, slack=request.slack)
        engine.schedule(Delta(before.settings.queries), before.embeddings, 0)
        engine.schedule(Delta(None, before.strength, before.remainder_db), None, 0)
        self.engine = engine
        self._quiet_until = 0
        self._confirm()
        for change in self._pending:
            # Their positions, and what the engine kept of them, were of what has ended.
            change.position, change.scheduled = 0, None
        self._tell(sequence, Latency(engine.latency_samples, self.slack, self._hop()))

    def _confirm(self) -> None:
        """Tell of the changes that have begun, in the order in which they did."""
        begun = [
            (change.scheduled.began, change)
            for change in self._pending
            if change.scheduled is not None and change.scheduled.began is not None
        ]
        for began, change in sorted(begun, key=lambda pair: pair[0]):
            self._pending.remove(change)
            self.request = self._changed(change.ready.result().delta)
            self._tell(change.sequence, Changed(began))

    def _cancel(self, request: Request) -> None:
        assert isinstance(request.message, Cancel)
        wanted = request.message.sequence
        found = next((change for change in self._pending if change.sequence == wanted), None)
        if found is None or (found.scheduled and not self.engine.cancel(found.scheduled)):
            failure = Failure("too-late", f"message {wanted} is no change that still waits")
            self._tell(request.sequence, failure)
            return
        self._pending.remove(found)
        self._tell(wanted, Failure("cancelled", "the change was taken back"))
        self._tell_done(request.sequence)

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
        for change in self._pending:
            # Their positions counted from what has ended.
            change.position = 0
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
