"""Parallel paths that may hold our processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.effect.chain import Chain, check_distinct
from plugin_bridge.effect.plugin_list import PluginList


class Paths:
    """Chains whose outputs are summed, in time however much each one holds back.

    Args:
        chains: At least one.
    """

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = list(chains)
        #: Per chain, frames that others have not come to, (channels, n).
        self._ahead: list[NDArray[np.float32] | None] = [None] * len(self.chains)
        #: Whether a stream is running.
        self.running = False

    @property
    def reported_latency_samples(self) -> int:
        """That of the slowest chain."""
        return max(chain.reported_latency_samples for chain in self.chains)

    def process(
        self, rows: Sequence[NDArray[np.float32]], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """(channels, n) for every chain to their sum, as far as all have come."""
        if reset or not self.running:
            # Plugins that ended a recording would not hold back their latency again.
            self.reset()
        self.running = not reset
        outs = [
            chain.process(row, rate, buffer_size, reset)
            for chain, row in zip(self.chains, rows, strict=True)
        ]
        return self._sum(outs)

    def flush(
        self, rows: Sequence[NDArray[np.float32]], rate: int, buffer_size: int
    ) -> NDArray[np.float32]:
        """(channels, n) for every chain, and then the end of the stream."""
        outs = [
            chain.flush(row, rate, buffer_size)
            for chain, row in zip(self.chains, rows, strict=True)
        ]
        total = self._sum(outs)
        self.reset()
        return total

    def reset(self) -> None:
        """Forget all sound."""
        self.running = False
        self._ahead = [None] * len(self.chains)
        for chain in self.chains:
            chain.reset()

    def _sum(self, outs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        outs = [
            out if ahead is None else np.concatenate([ahead, out], -1)
            for ahead, out in zip(self._ahead, outs, strict=True)
        ]
        ready = min(out.shape[-1] for out in outs)
        self._ahead = [out[:, ready:] for out in outs]
        total = outs[0][:, :ready].copy()
        for out in outs[1:]:
            total += out[:, :ready]
        return total


class SeparationMix(PluginList):
    """A drop-in for ``pedalboard.Mix`` that also takes our processors and boards.

    Every plugin gets the input, and their outputs are summed, in time with each other. Without
    plugins the input passes.

    Args:
        plugins: As in :class:`plugin_bridge.SeparationBoard`; an empty board is the dry signal.

    Raises:
        TypeError: An item is no plugin.
        ValueError: A processor comes twice; one processor follows one stream.
        MissingPackageError: pedalboard is not installed.
    """

    @property
    def reported_latency_samples(self) -> int:
        """The largest latency of a plugin."""
        return self._paths.reported_latency_samples

    def push(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """As :meth:`Stage.push`."""
        return self._paths.process([audio] * len(self._paths.chains), rate, buffer_size, reset)

    def finish(self, channels: int, rate: int, buffer_size: int) -> NDArray[np.float32]:
        """As :meth:`Stage.finish`."""
        nothing = np.zeros((channels, 0), np.float32)
        return self._paths.flush([nothing] * len(self._paths.chains), rate, buffer_size)

    def forget(self) -> None:
        """As :meth:`Stage.forget`."""
        self._paths.reset()

    def _install(self, items: list[Any]) -> None:
        check_distinct(items, self)
        # Plugins that come later would be ahead of the others: the next call starts a new stream.
        self._paths = Paths([Chain([item]) for item in items] or [Chain()])
        self._stream = self._surplus = None
        self._items = items
