"""A pedalboard that holds native plugins and our processors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.separator import Separator
from audiosep_core.settings import Mode, Query
from plugin_bridge.effect.chain import Chain, check_distinct, native_board
from plugin_bridge.effect.layout import check_call
from plugin_bridge.effect.plugin_list import PluginList
from plugin_bridge.effect.split import SeparationSplit


class SeparationBoard(PluginList):
    """A drop-in for ``pedalboard.Pedalboard`` that also takes our processors.

    Every run of native plugins is processed by one native board, so that a board without
    processors gives the very samples of ``pedalboard.Pedalboard``. All parts are in time with
    each other, as each takes its own latency out. A native ``Mix`` or ``Chain`` takes native
    plugins only; :class:`plugin_bridge.SeparationMix` takes boards, too.

    Args:
        plugins: Native plugins and boards, :class:`plugin_bridge.AudioSepProcessor`,
            :class:`plugin_bridge.BridgeProcessor`, :class:`plugin_bridge.SeparationMix` and
            further ``SeparationBoard`` objects, in the order of the signal.

    Raises:
        TypeError: An item is none of these.
        ValueError: A processor comes twice; one processor follows one stream.
        MissingPackageError: pedalboard is not installed.
    """

    def __init__(self, plugins: Iterable[Any] | None = None) -> None:
        #: What processes where there are no plugins.
        self._empty = native_board([])
        self._chain = Chain()
        super().__init__(plugins)

    @classmethod
    def split(
        cls,
        stems: Mapping[str | Query, Any],
        rest: Any = (),
        mode: Mode = "mix",
        model: str | Path | Separator | None = None,
        *,
        strength: float | None = None,
    ) -> SeparationBoard:
        """A board that sends every stem through plugins of its own and sums what comes out.

        >>> SeparationBoard.split({"a person singing": [Reverb()], "drums": [Compressor()]})

        Arguments and errors are those of :class:`plugin_bridge.effect.split.SeparationSplit`,
        which is the board's one plugin.
        """
        return cls([SeparationSplit(stems, rest, mode, model, strength=strength)])

    @property
    def _title(self) -> str:
        # Whoever looks for "Pedalboard" finds it.
        return f"{type(self).__name__} (Pedalboard)"

    @property
    def reported_latency_samples(self) -> int:
        """The sum over all plugins that report a latency."""
        return self._chain.reported_latency_samples

    def process(
        self,
        input_array: ArrayLike,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
    ) -> NDArray[np.float32]:
        """Send a recording, or the next part of one, through all plugins.

        Arguments, result and errors are those of :meth:`Stage.process`.
        """
        if not self._chain.native:
            return super().process(input_array, sample_rate, buffer_size, reset)
        check_call(sample_rate, buffer_size)
        board = self._chain.sections[0].board if self._chain.sections else self._empty
        return board.process(input_array, sample_rate, buffer_size, reset)

    def push(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """As :meth:`Stage.push`."""
        return self._chain.process(audio, rate, buffer_size, reset)

    def finish(self, channels: int, rate: int, buffer_size: int) -> NDArray[np.float32]:
        """As :meth:`Stage.finish`."""
        return self._chain.flush(np.zeros((channels, 0), np.float32), rate, buffer_size)

    def forget(self) -> None:
        """As :meth:`Stage.forget`."""
        self._chain.reset()

    def _install(self, items: list[Any]) -> None:
        check_distinct(items, self)
        self._chain = Chain(items, self._chain)
        self._items = items
