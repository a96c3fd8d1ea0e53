"""What a stream separates, and how that changes while it runs."""

from __future__ import annotations

import abc
import dataclasses

from audiosep_core.settings import Delta
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import hop_samples, preroll_samples
from plugin_bridge.protocol.messages import (
    Cancel,
    Change,
    Changed,
    Contract,
    Failure,
    Latency,
    Opened,
)
from plugin_bridge.protocol.request import StreamDelta, StreamRequest
from plugin_bridge.protocol.server_side import Request
from plugin_bridge.server.batching import batched
from plugin_bridge.server.changes import PendingChange, PreparedChange
from plugin_bridge.server.engines import ServedModel, check_slack, make_engine, resolve
from plugin_bridge.server.memory import MemoryBudget, held_bytes
from plugin_bridge.server.refusal import RefusedError, refusing


class ChangingStream(abc.ABC):
    """A stream's engine, its request, and the changes that wait; knows no threads.

    Args:
        number: Of the stream.
        request: What opened it.
        model: What runs it.
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
        memory: MemoryBudget,
        most_window: float,
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
        self._pending: list[PendingChange] = []
        #: Position up to which the network is not expected to be asked again.
        self._quiet_until = 0

    @abc.abstractmethod
    def _tell(self, sequence: int, message: Changed | Latency | Failure) -> None:
        """Send an answer or news."""

    @abc.abstractmethod
    def _tell_done(self, sequence: int) -> None:
        """Answer that something is done."""

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
        self._forget_positions()
        for change in self._pending:
            # The other engine knows of none.
            change.scheduled = None
        self._tell(sequence, Latency(engine.latency_samples, self.slack, self._hop()))

    def _forget_positions(self) -> None:
        """The changes that wait begin anew, in their order: positions were of what has ended."""
        self._pending.sort(key=lambda change: change.position)
        for change in self._pending:
            change.position = 0

    def _confirm(self) -> None:
        """Tell of the changes that have begun, in the order in which they did."""
        begun = [
            (change.scheduled.turn, change.scheduled.began, change)
            for change in self._pending
            if change.scheduled is not None and change.scheduled.began is not None
        ]
        for _, began, change in sorted(begun, key=lambda item: item[0]):
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
