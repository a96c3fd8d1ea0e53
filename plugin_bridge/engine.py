"""Separation of a live stream: as many frames out as in, late by a latency known beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audiosep_core.device import Device
from audiosep_core.fifo import Fifo
from audiosep_core.masking import Estimator
from audiosep_core.models import DEFAULT_MODEL
from audiosep_core.selection import Query, Selection, select
from audiosep_core.separator import Separator, check_sample_rate
from audiosep_core.stream import SeparationStream
from plugin_bridge.blocks import check_block, is_broken
from plugin_bridge.latency import Latency, quantum_samples, stream_latency
from plugin_bridge.modes import Mode, mode_windows

Outputs = Literal["target", "target+residual", "stems"]

#: Samples under this are silence; below 1e-38 a processor would take many times as long.
_SMALLEST = 1e-20


class StreamingSeparator:
    """Separates one stream in blocks of any size.

    The output is the same to the bit however the input is cut into blocks. It knows no
    threads, sockets or clocks; one thread at a time may use it.

    Args:
        queries: What to separate: texts, or :class:`audiosep_core.selection.Query` with gain,
            mute, solo, or as a negative query.
        sample_rate: Of the stream in Hz, a whole number of at least 1,000.
        channels: Of the stream, at least 1.
        mode: "render", "mix", "track", or windows of one's own
            (:func:`plugin_bridge.modes.mode_windows`).
        model: Name of an installed model, path of a bundle, or a loaded separator, which
            several streams may share.
        outputs: "target", the sum of the stems at their gains; "target+residual"; or "stems",
            every stem at its gain and, last, the residual.
        strength: Exponent of the masks, over 0 and up to 10.
        remainder_db: Level in the target of what no stem claims.
        device: Where the network runs, "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores.
        estimator: Runs the network in place of the model's own session, for instance for many
            streams at once.

    Attributes:
        latency: The parts of the latency, in samples.
        replaced_blocks: Blocks with broken samples that silence took the place of.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
        ValueError: Another argument is impossible.
        QueryError: A query is empty or too long, or all are negative.
        BundleError: The model is unknown or damaged.
    """

    def __init__(
        self,
        queries: Sequence[Query | str] | Query | str,
        sample_rate: float,
        channels: int,
        mode: Mode = "mix",
        model: str | Path | Separator = DEFAULT_MODEL,
        *,
        outputs: Outputs = "target",
        strength: float = 1.0,
        remainder_db: float = -math.inf,
        device: Device = "auto",
        threads: int = 0,
        estimator: Estimator | None = None,
    ) -> None:
        self.sample_rate = check_sample_rate(sample_rate)
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"channels must be a whole number of at least 1, not {channels!r}")
        if outputs not in ("target", "target+residual", "stems"):
            raise ValueError(
                f"outputs must be 'target', 'target+residual' or 'stems', not {outputs!r}"
            )
        separator = model if isinstance(model, Separator) else Separator(model, device, threads)
        config = separator.estimator.config
        self.channels = channels
        self.outputs = outputs
        self.windows = mode_windows(mode, separator.bundle)
        self.latency: Latency = stream_latency(self.windows, config, self.sample_rate)
        self._encoder = separator.encoder
        self._estimator = estimator or separator.estimator
        self._quantum = quantum_samples(self.sample_rate)
        self._selection = select(queries, self._encoder, strength, remainder_db)
        self._queries = queries
        self._strength = strength
        self._remainder_db = remainder_db
        self.reset()

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input; constant for a stream."""
        return self.latency.total

    @property
    def rows(self) -> int:
        """Signals that come out, each with all channels."""
        if self.outputs == "stems":
            return self._selection.rows(summed=False) + 1
        return 1 if self.outputs == "target" else 2

    @property
    def queries(self) -> int:
        """What the network is asked for every window, negative queries included."""
        return len(self._selection.all_conditions)

    @property
    def strength(self) -> float:
        """Exponent of the masks; can be set while the stream runs."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._select(self._queries, value, self._remainder_db)

    @property
    def remainder_db(self) -> float:
        """Level in the target of what no stem claims; can be set while the stream runs."""
        return self._remainder_db

    @remainder_db.setter
    def remainder_db(self, value: float) -> None:
        self._select(self._queries, self._strength, value)

    def set_queries(self, queries: Sequence[Query | str] | Query | str) -> None:
        """Separate something else, or at other levels, from the next hop on.

        One selection gives way to the next within 50 ms. A query that is in no pack or cache is
        encoded before the call returns.

        Raises:
            QueryError: A query is empty or too long, or all are negative.
            ValueError: With ``outputs="stems"``, the number of stems would change.
        """
        self._select(queries, self._strength, self._remainder_db)

    def select(self, selection: Selection) -> None:
        """As :meth:`set_queries`, with queries that were embedded beforehand; never blocks.

        Args:
            selection: What :func:`audiosep_core.selection.select` made for the same model.

        Raises:
            ValueError: With ``outputs="stems"``, the number of stems would change.
        """
        self._stream.select(selection)
        self._selection = selection

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, return as many frames, ``latency_samples`` behind.

        A block with NaN, infinity or samples beyond 1e6 counts as silence, and is counted in
        ``replaced_blocks``.

        Args:
            block: (channels, n) float32, contiguous, n of at least 1.

        Returns:
            (channels, n) float32; for the other ``outputs``, (rows, channels, n).

        Raises:
            TypeError: The block is not an array of float32.
            ValueError: The block has another shape, is empty or not contiguous.
        """
        check_block(block, self.channels)
        if is_broken(block):
            self.replaced_blocks += 1
            self._in.push_zeros(block.shape[1])
        else:
            self._in.push(block)
        while len(self._in) >= self._quantum:
            self._advance(self._quantum)
        return self._out.pop(block.shape[1])

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

    def reset(self) -> None:
        """Forget all sound; queries and levels stay.

        The network is made ready for every window of as many queries as there are now. With
        other numbers of queries it runs as well; on a GPU its first calls take longer.
        """
        self._stream = SeparationStream(
            self._estimator,
            self._selection,
            self.sample_rate,
            self.channels,
            self.windows,
            summed=self.outputs != "stems",
        )
        self._in = Fifo((self.channels,))
        self._out = Fifo(
            (self.channels,) if self.outputs == "target" else (self.rows, self.channels)
        )
        self._out.push_zeros(self.latency_samples)
        self.replaced_blocks = 0
        self._prepare()

    def _prepare(self) -> None:
        estimator = self._estimator
        # Twice as many queries while one selection gives way to the next.
        for rows in (2, 1):
            for frames in self.windows.lengths(estimator.config):
                estimator.prepare(rows * self.queries, frames)

    def _select(
        self,
        queries: Sequence[Query | str] | Query | str,
        strength: float,
        remainder_db: float,
    ) -> None:
        self.select(select(queries, self._encoder, strength, remainder_db))
        self._queries, self._strength, self._remainder_db = queries, strength, remainder_db

    def _advance(self, count: int) -> None:
        quantum = self._in.pop(count)
        quantum[np.abs(quantum) < _SMALLEST] = 0
        self._keep(self._stream.push(quantum))

    def _keep(self, rows: NDArray[np.float32]) -> None:
        self._out.push(rows[0] if self.outputs == "target" else rows)
