"""Separation of a live stream: as many frames out as in, late by a latency known beforehand."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.model.installed import default_model
from audiosep_core.separator import Separator
from audiosep_core.settings import Delta, Mode, Outputs, Queries, Settings, StreamFormat
from audiosep_core.signal.fifo import Fifo
from audiosep_core.signal.masking import Estimator
from audiosep_core.signal.open_stream import Stream, open_stream
from audiosep_core.signal.snapshot import Snapshot
from audiosep_core.signal.stepped_stream import SteppedStream
from audiosep_core.signal.stepping import StepEstimator
from plugin_bridge.live.blocks import as_block, is_broken, like
from plugin_bridge.live.latency import (
    LatencyParts,
    call_lengths,
    quantum_samples,
    step_samples,
    stream_latency,
)
from plugin_bridge.live.modes import mode_windows
from plugin_bridge.live.schedule import Schedule, Scheduled

#: Samples under this are silence; below 1e-38 a processor would take many times as long.
_SMALLEST = 1e-20


class StreamingSeparator:
    """Separates one stream in blocks of any size.

    The output is the same to the bit however the input is cut into blocks. It knows no
    threads, sockets or clocks; one thread at a time may use it. All that is remembered of sound
    lies in one :class:`audiosep_core.signal.open_stream.Stream` and the buffers around it,
    all that is asked in one :class:`audiosep_core.Settings`, which is replaced whole.

    Args:
        queries: What to separate: texts, :class:`audiosep_core.Query` with gain, mute, solo, or
            as a negative query, or :class:`audiosep_core.Settings`.
        sample_rate: Of the stream in Hz, a whole number of at least 1,000.
        channels: Of the stream, at least 1.
        mode: "render", "mix", "track", "live", or windows of one's own
            (:func:`plugin_bridge.live.modes.mode_windows`).
        model: Name of an installed model, path of a bundle, or a loaded separator, which
            several streams may share; by default "mini", in mode "live" the model of that name.
        outputs: "target", the sum of the stems at their gains; "target+residual"; or "stems",
            every stem at its gain and, last, the residual.
        estimator: Runs the network in place of the model's own session, for instance for many
            streams at once.
        origin: The first frame on the host's time line, as in :meth:`reset`.
        levels: ``strength`` and ``remainder_db``, as in :class:`audiosep_core.Settings`.

    Attributes:
        format: Sample rate, channels, mode and outputs.
        windows: Those of the mode, in frames, or the steps of a streaming network.
        latency: The parts of the latency, in samples.
        replaced_blocks: Blocks with broken samples that silence took the place of.
        origin: The first frame of the stream on the host's time line.
        position: The frame that comes in next.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
        ValueError: Another argument is impossible.
        QueryError: A query is empty or too long, or all are negative.
        BundleError: The model is unknown or damaged.
    """

    replaced_blocks: int
    origin: int
    position: int
    _stream: Stream
    _in: Fifo
    _out: Fifo

    def __init__(
        self,
        queries: Queries | Settings,
        sample_rate: float,
        channels: int,
        mode: Mode = "mix",
        model: str | Path | Separator | None = None,
        *,
        outputs: Outputs = "target",
        estimator: Estimator | StepEstimator | None = None,
        origin: int = 0,
        **levels: float,
    ) -> None:
        self._settings = Settings.of(queries, **levels)
        self.format = StreamFormat(sample_rate, channels, mode, outputs)  # type: ignore[arg-type]
        separator = (
            model if isinstance(model, Separator) else Separator(model or default_model(mode))
        )
        config = separator.estimator.config
        self.windows = mode_windows(mode, separator.bundle)
        self.latency: LatencyParts = stream_latency(self.windows, config, self.sample_rate)
        self._separator, self._encoder = separator, separator.encoder
        self._estimator = estimator or separator.estimator
        self._quantum = quantum_samples(self.sample_rate, config)
        #: Samples of a step, on the time line's grid; 0 where a stream has none of its own.
        self._step = step_samples(self.sample_rate, config)
        self._embeddings = self._encoder.embed(self._settings.asked)
        self._schedule = Schedule()
        #: Changes that have begun.
        self._turn = 0
        self.reset(origin)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, pickled or not, is a stream of its own, which has heard nothing."""
        form = self.format
        own = None if self._estimator is self._separator.estimator else self._estimator
        fresh = functools.partial(
            StreamingSeparator,
            outputs=form.outputs,
            estimator=own,
            origin=self.origin,
        )
        arguments = (self._settings, form.sample_rate, form.channels, form.mode, self._separator)
        return fresh, arguments

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""
        return self.format.sample_rate

    @property
    def channels(self) -> int:
        """Of the stream."""
        return self.format.channels

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input; constant for a stream."""
        return self.latency.total

    @property
    def rows(self) -> int:
        """Signals that come out, each with all channels."""
        return self.format.rows(self._settings)

    @property
    def settings(self) -> Settings:
        """What is separated of the frame that comes in next."""
        return self._settings

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(queries, condition_size), of ``settings.asked``."""
        return self._embeddings

    @property
    def strength(self) -> float:
        """Exponent of the masks; can be set while the stream runs."""
        return self._settings.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self.change(Delta(strength=value))

    @property
    def remainder_db(self) -> float:
        """Level in the target of what no stem claims; can be set while the stream runs."""
        return self._settings.remainder_db

    @remainder_db.setter
    def remainder_db(self, value: float) -> None:
        self.change(Delta(remainder_db=value))

    def set_queries(self, queries: Queries, position: int | None = None) -> None:
        """Separate something else, or at other levels: :meth:`change` of the queries."""
        self.change(Delta(queries), position)

    def change(self, delta: Delta, position: int | None = None) -> Scheduled:
        """Fold a change into the settings at a frame of the mixture, where it is heard.

        Queries, gains, mutes, solos and the remainder move from that frame on within 10 ms;
        strength and negative queries within half a frame of the STFT. Before the first frame
        nothing fades. Queries that are in no pack or cache are encoded before the call returns.

        Args:
            delta: What changes; the rest stays.
            position: The frame, on the time line on which the stream's origin lies; by default the
                next one that comes in. Any time ahead will do. A frame that has passed will do as
                long as no sound behind it has come out and, for other queries, no masks behind it
                were made; otherwise the first one stands for it that will.

        Returns:
            The change, which :meth:`cancel` takes back until its frame comes in.

        Raises:
            ValueError: With ``outputs="stems"``, the number of stems would change; the settings
                are as they were. Or too many changes wait.
        """
        embeddings = None
        if delta.queries is not None:
            asked = [query.asked for query in delta.queries]
            known = asked == self._settings.asked
            embeddings = self._embeddings if known else self._encoder.embed(asked)
        return self.schedule(delta, embeddings, position)

    def schedule(
        self,
        delta: Delta,
        embeddings: NDArray[np.float32] | None,
        position: int | None = None,
    ) -> Scheduled:
        """As :meth:`change`; never waits for the text encoder.

        Args:
            delta: What changes.
            embeddings: (queries, condition_size), of its queries; None where these stay.
            position: As in :meth:`change`.
        """
        self.format.check_change(self._settings, self._settings.changed(delta))
        at = self.position if position is None else position
        scheduled = Scheduled(delta, embeddings, at)
        if at <= self.position:
            # Those that wait for the same frame were asked for before.
            while (due := self._schedule.due(at + 1)) is not None:
                self._begin(due)
            self._begin(scheduled)
        else:
            self._schedule.add(scheduled)
        return scheduled

    def cancel(self, scheduled: Scheduled) -> bool:
        """Take a change back; false if its frame has come in."""
        return self._schedule.remove(scheduled)

    def _begin(self, scheduled: Scheduled) -> None:
        self._turn += 1
        scheduled.began, scheduled.turn = scheduled.position, self._turn
        if not scheduled.delta.named():
            return
        settings = self._settings.changed(scheduled.delta)
        embeddings = scheduled.embeddings
        if embeddings is None:
            embeddings = self._embeddings
        selection = settings.selection(embeddings)
        at = self._stream.select(selection, scheduled.position - self.origin)
        scheduled.began = at + self.origin
        self._settings, self._embeddings = settings, embeddings

    def process(self, block: ArrayLike) -> NDArray[np.float32]:
        """Take a block, return as many frames, ``latency_samples`` behind.

        A block with NaN, infinity or samples beyond 1e6 counts as silence, and is counted in
        ``replaced_blocks``.

        Args:
            block: (channels, n) floating point, of a mono stream (n,), too; n may be 0.

        Returns:
            (channels, n) float32; for the other ``outputs``, (rows, channels, n). Without an axis
            for channels if the block had none.

        Raises:
            TypeError: The block is not floating point.
            ValueError: The block has other channels.
        """
        sound = as_block(block, self.channels)
        count = sound.shape[1]
        if is_broken(sound):
            self.replaced_blocks += 1
            self._in.push_zeros(count)
        else:
            self._in.push(sound)
        self.position += count
        # What begins in a block is known before the block is separated.
        while (due := self._schedule.due(self.position)) is not None:
            self._begin(due)
        if self._step:
            # Nothing comes of part of a step, so small blocks wait for the rest of theirs.
            ready = len(self._in) - self.position % self._step
            if ready > 0:
                self._advance(ready)
        while not self._step and len(self._in) >= self._quantum:
            self._advance(self._quantum)
        return like(block, self._out.pop(count))

    def flush(self) -> NDArray[np.float32]:
        """End the stream: the last ``latency_samples`` frames. The next block starts a new one.

        With these, as many frames came out behind the leading latency as ever went in.
        """
        if len(self._in):
            self._advance(len(self._in))
        self._keep(self._stream.finish())
        tail = self._out.pop(self.latency_samples)
        self.reset()
        return tail

    def snapshot(self) -> bytes | None:
        """What the network remembers, with which a stream elsewhere goes on to the bit.

        :class:`audiosep_core.signal.snapshot.Snapshot` says what it tells: another stream, with its
        origin where this says and asked the same from there on, gives what this one does.

        Returns:
            None where nothing is remembered that the last samples would not tell as well, soon
            after the start, and at rates that have to be resampled.
        """
        if not isinstance(self._stream, SteppedStream):
            return None
        snapshot = self._stream.snapshot(self.origin)
        return None if snapshot is None else snapshot.encode(self._model_hash)

    def resume(self, data: bytes) -> None:
        """Go on where another stream was; before the first frame, at the snapshot's origin.

        Raises:
            ValueError: The snapshot is damaged or of another model, or the stream began elsewhere.
        """
        snapshot = Snapshot.decode(data, self._model_hash)
        if not isinstance(self._stream, SteppedStream):
            raise ValueError("a stream of this model or rate goes on with no snapshot")
        if self.position != snapshot.origin or self.origin != snapshot.origin:
            raise ValueError(
                f"the snapshot is for a stream that begins at {snapshot.origin} and has heard "
                f"nothing yet; this one began at {self.origin} and is at {self.position}"
            )
        self._stream.resume(snapshot)

    @property
    def _model_hash(self) -> str:
        return self._separator.bundle.model_hash

    def reset(self, origin: int = 0) -> None:
        """Forget all sound; the settings stay, and changes that wait take effect.

        Args:
            origin: The next frame on the host's time line. The hops lie on a grid of that line, so
                that the same passage gives the same masks wherever the stream was begun before it.

        The network is made ready for every window of as many queries as there are now. With
        other numbers of queries it runs as well; on a GPU its first calls take longer.
        """
        if origin < 0:
            raise ValueError(f"origin must be a frame of the time line, from 0, not {origin!r}")
        while (due := self._schedule.due()) is not None:
            self._settings = self._settings.changed(due.delta)
            if due.embeddings is not None:
                self._embeddings = due.embeddings
            self._turn += 1
            due.began, due.turn = origin, self._turn
        self.origin = self.position = origin
        self._stream = open_stream(
            self._estimator,
            self._settings.selection(self._embeddings),
            self.sample_rate,
            self.channels,
            self.windows,
            summed=self.format.outputs != "stems",
            origin=origin,
        )
        self._in = Fifo((self.channels,))
        self._out = Fifo((self.channels,) if self._flat else (self.rows, self.channels))
        self._out.push_zeros(self.latency_samples)
        self.replaced_blocks = 0
        self._prepare()

    @property
    def _flat(self) -> bool:
        return self.format.outputs == "target"

    def _prepare(self) -> None:
        config, windows = self._estimator.config, self.windows
        lengths = call_lengths(windows, config)
        # Twice as many queries while one selection gives way to the next.
        for rows in (2, 1):
            for frames in lengths:
                self._estimator.prepare(rows * len(self._embeddings), frames)

    def _advance(self, count: int) -> None:
        quantum = self._in.pop(count)
        quantum[np.abs(quantum) < _SMALLEST] = 0
        self._keep(self._stream.push(quantum))

    def _keep(self, rows: NDArray[np.float32]) -> None:
        self._out.push(rows[0] if self._flat else rows)
