"""One stream of a client: a thread that separates what comes in, block by block."""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.selection import Selection
from plugin_bridge.engine import StreamingSeparator
from plugin_bridge.latency import quantum_samples
from plugin_bridge.protocol.messages import Changed, Contract, Failure, Latency, Opened
from plugin_bridge.protocol.server_side import Block, Request, ServerProtocol
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.batching import BatchedEstimator
from plugin_bridge.server.figures import Histogram

#: Bytes of audio that wait for a stream until its connection is read no further.
_MOST_WAITING = 1 << 20
#: What a request counts for among them.
_REQUEST_BYTES = 1 << 12
#: In the inbox: look whether a change can be made.
_WAKE = object()
#: Share of the slack, at most, and seconds, at most, that are left for what follows the masks.
_MARGIN_SHARE, _MARGIN_SECONDS = 0.25, 0.02


class RefusedError(Exception):
    """A request that cannot be done, with what to answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclasses.dataclass(frozen=True)
class PreparedChange:
    """What a CHANGE comes to once its queries are encoded.

    Attributes:
        selection: What to separate from then on; None for the same.
        engine: In place of the present one, for another mode; None for the same.
        contract: None for the same.
    """

    selection: Selection | None
    engine: StreamingSeparator | None
    contract: Contract | None


@dataclasses.dataclass
class PendingChange:
    """A change that waits for its position, or for its queries to be encoded."""

    sequence: int
    position: int
    ready: Future[PreparedChange]


class Inbox:
    """What waits for a stream's thread, of bounded size."""

    def __init__(self) -> None:
        self._items: collections.deque[Any] = collections.deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._draining = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed or self._draining

    def put(self, item: Any, size: int = 0) -> None:
        """Append; waits while more audio is waiting than a stream may hold."""
        with self._changed:
            while size and self._bytes + size > _MOST_WAITING and self._bytes and not self._closed:
                self._changed.wait()
            if not self.ended:
                self._items.append((item, size))
                self._bytes += size
                self._changed.notify_all()

    def get(self) -> Any:
        """The next item; None once the inbox is closed."""
        with self._changed:
            while not self._items and not self.ended:
                self._changed.wait()
            if self._closed or not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            if size:
                self._changed.notify_all()
            return item

    def close(self, drain: bool) -> None:
        """Take nothing more; with ``drain`` what is there is still handed out."""
        with self._changed:
            self._draining = True
            self._closed = self._closed or not drain
            self._changed.notify_all()


class ServedStream:
    """Separates one stream on a thread of its own.

    A block that will not need the network is separated by the thread that brings it: that takes
    less time than to hand it over.

    Args:
        number: Of the stream.
        engine: Separates; uses ``estimator``.
        estimator: What the engine asks for masks.
        contract: "realtime" or "render".
        slack: Frames within which a block is answered in the contract "realtime".
        max_block: Most frames in an answer.
        model: Name of the model.
        protocol: Makes the answers.
        send: Sends them; called on the stream's thread.
        failed: Called with an error of this program's own.
    """

    def __init__(
        self,
        number: int,
        engine: StreamingSeparator,
        estimator: BatchedEstimator,
        contract: Contract,
        slack: int,
        max_block: int,
        model: str,
        protocol: ServerProtocol,
        send: Callable[[bytes], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.number = number
        self.engine = engine
        self.estimator = estimator
        self.contract: Contract = contract
        self.slack = slack
        self.max_block = max_block
        self.model = model
        self.position = 0
        self.blocks = 0
        self.late_blocks = 0
        self.substituted_blocks = 0
        self.answers = Histogram()
        self._protocol = protocol
        self._send = send
        self._failed = failed
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

    def opened(self) -> Opened:
        """What OPENED says of the stream."""
        return Opened(
            latency=self.engine.latency_samples,
            slack=self.slack,
            hop=self._hop(),
            rows=self.engine.rows,
            model=self.model,
        )

    def put_block(self, block: Block) -> None:
        """Take audio; waits while too much is waiting already."""
        arrived = time.monotonic()
        alone = self._handed_over == self._worked_off and not self._pending
        quiet = self.position + block.audio.shape[1] <= self._quiet_until
        if alone and quiet and not self._inbox.ended and self._working.acquire(blocking=False):
            try:
                self._answer(block, arrived)
            except Exception as error:
                self._failed(error)
            finally:
                self._working.release()
        else:
            self._hand_over((block, arrived), block.audio.nbytes)

    def put_request(self, request: Request) -> None:
        """Take a FLUSH or a RESET."""
        self._hand_over(request, _REQUEST_BYTES)

    def put_change(self, change: PendingChange) -> None:
        """Take a change; what comes behind it is separated behind it."""
        self._hand_over(change, _REQUEST_BYTES)
        # Wakes the thread for a change whose position has passed while no audio comes.
        change.ready.add_done_callback(lambda _: self._inbox.put(_WAKE))

    def close(self, drain: bool = False) -> None:
        """End the thread, with ``drain`` after what has come in; see :meth:`join`."""
        self._inbox.close(drain)

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def statistics(self) -> dict[str, Any]:
        """Figures of the stream; nothing of its sound or its queries."""
        engine = self.engine
        return {
            "stream": self.number,
            "model": self.model,
            "sample_rate": engine.sample_rate,
            "channels": engine.channels,
            "contract": self.contract,
            "queries": engine.queries,
            "latency": engine.latency_samples,
            "slack": self.slack,
            "hop": self._hop(),
            "position": self.position,
            "blocks": self.blocks,
            "late_blocks": self.late_blocks,
            "substituted_blocks": self.substituted_blocks,
            "substitutions": self.estimator.late,
            "replaced_blocks": engine.replaced_blocks,
            "network": self.estimator.waits.summary(),
            "answer": self.answers.summary(),
        }

    def _hop(self) -> int:
        config = self.estimator.config
        hop = self.engine.windows.hop * config.hop * self.engine.sample_rate
        return max(1, round(hop / config.sample_rate))

    def _hand_over(self, item: Any, size: int) -> None:
        self._handed_over += 1
        self._inbox.put(item, size)

    def _jitter(self) -> int:
        """Frames by which the network may be asked earlier than a hop after the last time."""
        config, rate = self.estimator.config, self.engine.sample_rate
        return quantum_samples(rate) + config.hop * rate // config.sample_rate + 1

    def _run(self) -> None:
        try:
            while (item := self._inbox.get()) is not None:
                with self._working:
                    self._work_off(item)
                self._worked_off += item is not _WAKE
        except Exception as error:
            self._failed(error)
        finally:
            # Nobody may wait for room that nobody makes.
            self._inbox.close(drain=False)

    def _work_off(self, item: Any) -> None:
        if isinstance(item, tuple):
            self._answer(*item)
        elif isinstance(item, Request):
            self._end_recording(item)
        else:
            if isinstance(item, PendingChange):
                self._pending.append(item)
            self._apply_due(0)

    def _answer(self, block: Block, arrived: float) -> None:
        seconds = self.slack / self.engine.sample_rate
        due = arrived + seconds
        margin = min(_MARGIN_SHARE * seconds, _MARGIN_SECONDS)
        realtime = self.contract == "realtime"
        self.estimator.deadline = due - margin if realtime else math.inf
        late, asked = self.estimator.late, self.estimator.waits.count
        rows = self._separate(block.audio)
        if self.estimator.waits.count > asked:
            self._quiet_until = self.position + self._hop() - self._jitter()
        substituted = self.estimator.late > late
        # Whoever has the answer finds it counted.
        self.blocks += 1
        self.substituted_blocks += substituted
        self._send(self._protocol.send_audio(self.number, block.sequence, rows, substituted))
        now = time.monotonic()
        self.answers.add(now - arrived)
        self.late_blocks += realtime and now > due

    def _separate(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Separate a block, with the changes whose positions lie in it."""
        parts = []
        while audio.shape[1]:
            done = self._apply_due(audio.shape[1])
            part = np.ascontiguousarray(audio[:, :done])
            parts.append(self.engine.process(part))
            self.position += done
            audio = audio[:, done:]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)

    def _apply_due(self, frames: int) -> int:
        """Make changes up to here, tell how many of the next frames come before another one."""
        while self._pending:
            change = self._pending[0]
            ahead = change.position - self.position
            if ahead > 0:
                return min(frames, ahead)
            if not change.ready.done() and (self.contract == "realtime" or not frames):
                return frames
            del self._pending[0]
            self._apply(change)
        return frames

    def _apply(self, change: PendingChange) -> None:
        try:
            prepared = change.ready.result()
            if prepared.selection is not None and prepared.engine is None:
                self.engine.select(prepared.selection)
        except RefusedError as error:
            self._tell(change.sequence, error.failure)
            return
        except ValueError as error:
            self._tell(change.sequence, Failure("bad-value", str(error)))
            return
        self.contract = prepared.contract or self.contract
        if prepared.engine is not None:
            self.engine, self.position, self._quiet_until = prepared.engine, 0, 0
            news = Latency(self.engine.latency_samples, self.slack, self._hop())
            self._tell(change.sequence, news)
        self._tell(change.sequence, Changed(self.position))

    def _end_recording(self, request: Request) -> None:
        if request.type == Type.FLUSH:
            self.estimator.deadline = math.inf
            tail = self.engine.flush()
            for start in range(0, tail.shape[-1], self.max_block):
                part = tail[..., start : start + self.max_block]
                self._send(self._protocol.send_audio(self.number, request.sequence, part, False))
        else:
            self.engine.reset()
        self.position = self._quiet_until = 0
        # Their positions counted from what has ended.
        for change in self._pending:
            change.position = 0
        self._apply_due(0)
        self._send(self._protocol.send_plain(Type.DONE, self.number, request.sequence))

    def _tell(self, sequence: int, message: Changed | Latency | Failure) -> None:
        self._send(self._protocol.send(self.number, sequence, message))
