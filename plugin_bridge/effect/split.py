"""One separation, every stem through plugins of its own, and their sum."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.installed import default_model
from audiosep_core.separator import Separator, stem_queries
from audiosep_core.settings import Mode, Query, Settings
from plugin_bridge.effect.chain import Chain, check_distinct
from plugin_bridge.effect.compensation import USUAL_RATE, Compensated
from plugin_bridge.effect.container import Container
from plugin_bridge.effect.mix import Paths
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import mode_windows


class SeparationSplit(Container):
    """Reverb on the voice only: stems through chains of their own, summed, in time.

    With no plugins at all the input comes back, as stems and rest sum to it.

    Args:
        stems: What to separate, a text or a :class:`audiosep_core.Query`, to the plugins of that
            stem: a list as in :class:`plugin_bridge.SeparationBoard`, or one plugin.
        rest: The plugins of what no stem claims; empty lets it pass, None silences it.
        mode: "render", "mix", "track", "live", or windows of one's own.
        model: Name of an installed model, path of a bundle, or a loaded separator; by default
            "mini", in mode "live" the model of that name.
        strength: Exponent of the masks, over 0 and up to 10; 1 if not given.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
        QueryError: There is no query, or one is empty, too long or given twice.
        TypeError: ``stems`` is no mapping, or an item is no plugin.
        ValueError: Another argument is impossible.
        BundleError: The model is unknown or damaged.
        MissingPackageError: pedalboard is not installed.
    """

    def __init__(
        self,
        stems: Mapping[str | Query, Any],
        rest: Any = (),
        mode: Mode = "mix",
        model: str | Path | Separator | None = None,
        *,
        strength: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(stems, Mapping):
            raise TypeError(
                f"stems must be a mapping of queries to plugins, not {type(stems).__name__}"
            )
        self._settings = Settings.of(list(stems), strength)
        stem_queries(self._settings)
        self._mode = mode
        self._rest = rest
        # A negative query makes no stem; its plugins would have nothing to do.
        if any(query.negative for query in self._settings.queries):
            raise ValueError("a negative query makes no stem; give those of stems only")
        lists = [_listed(plugins) for plugins in (*stems.values(), rest or ())]
        check_distinct([item for items in lists for item in items])
        self._paths = Paths([Chain(items) for items in lists])
        self._separator = (
            model if isinstance(model, Separator) else Separator(model or default_model(mode))
        )
        self._windows = mode_windows(mode, self._separator.bundle)
        self._separator.encoder.embed(self._settings.asked)
        self._compensated = Compensated(self._make_engine)

    def __repr__(self) -> str:
        texts = [query.text for query in self._settings.stems]
        chains = {text: chain.items for text, chain in zip(texts, self._paths.chains, strict=False)}
        rest = None if self._rest is None else self._paths.chains[-1].items
        return f"<{type(self).__name__} {chains} rest={rest} mode={self._mode!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled, or copied deeply, holds copies and has a stream of its own."""
        chains = [chain.items for chain in self._paths.chains]
        stems = dict(zip(self._settings.queries, chains, strict=False))
        rest = None if self._rest is None else chains[-1]
        fresh = functools.partial(type(self), strength=self._settings.strength)
        return fresh, (stems, rest, self._mode, self._separator)

    @property
    def parts(self) -> Sequence[Any]:
        """The plugins of all stems, then those of the rest."""
        return [item for chain in self._paths.chains for item in chain.items]

    @property
    def settings(self) -> Settings:
        """What is separated."""
        return self._settings

    @property
    def reported_latency_samples(self) -> int:
        """That of the separation and of the slowest chain behind it."""
        engine, config = self._compensated.engine, self._separator.bundle.config
        own = (
            stream_latency(self._windows, config, USUAL_RATE).total
            if engine is None
            else engine.latency_samples
        )
        return own + self._paths.reported_latency_samples

    def push(
        self, audio: NDArray[np.float32], rate: int, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        """As :meth:`Stage.push`."""
        self._start(audio.shape[0], rate, reset)
        rows = self._rows(self._compensated.process(audio, buffer_size, whole=reset))
        return self._paths.process(rows, rate, buffer_size, reset)

    def finish(self, channels: int, rate: int, buffer_size: int) -> NDArray[np.float32]:
        """As :meth:`Stage.finish`."""
        self._start(channels, rate, reset=False)
        return self._paths.flush(self._rows(self._compensated.flush()), rate, buffer_size)

    def forget(self) -> None:
        """As :meth:`Stage.forget`."""
        self._compensated.reset()
        self._paths.reset()

    def _make_engine(self, rate: int, channels: int) -> StreamingSeparator:
        return StreamingSeparator(
            self._settings, rate, channels, self._windows, self._separator, outputs="stems"
        )

    def _start(self, channels: int, rate: int, reset: bool) -> None:
        if self._compensated.start(channels, rate, reset or not self._paths.running):
            self._paths.reset()

    def _rows(self, late: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Contiguous rows, the rest silent where it has no path."""
        rows = [np.ascontiguousarray(row) for row in late]
        if self._rest is None:
            rows[-1][:] = 0
        return rows


def _listed(plugins: Any) -> list[Any]:
    """A list of plugins, or one plugin as a list; a board counts as one."""
    return list(plugins) if isinstance(plugins, list | tuple) else [plugins]
