"""The front door: separate an array by a list of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.arrays import floating
from audiosep_core.errors import QueryError
from audiosep_core.model.installed import DEFAULT_MODEL, open_model
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.query.text import query_key
from audiosep_core.runtime.device import Device
from audiosep_core.runtime.session import MaskEstimator
from audiosep_core.runtime.steps import StepNetwork
from audiosep_core.settings import Queries, Settings, StreamFormat, check_sample_rate
from audiosep_core.signal.masking import Estimator
from audiosep_core.signal.open_stream import Stream, offline_grouping, open_stream
from audiosep_core.signal.stepping import StepEstimator
from audiosep_core.signal.windows import Steps, Windows

RESIDUAL = "residual"
_BLOCK_SECONDS = 4.0
#: Samples beyond this, 60 dB over full scale, are integers that nobody scaled.
LARGEST_SAMPLE = 1e3


class Stems(Mapping[str, NDArray[np.float32]]):
    """Stems by query, then ``residual``: together they sum to the mixture.

    A query finds its stem however it is spelled: with other spaces, capitals or signs.

    >>> stems["a person speaking"], stems.residual
    """

    def __init__(self, stems: dict[str, NDArray[np.float32]]) -> None:
        self._stems = stems

    def __getitem__(self, query: str) -> NDArray[np.float32]:
        if query in self._stems:
            return self._stems[query]
        if isinstance(query, str):
            with suppress(ValueError):
                wanted = query_key(query)
                for name, stem in self._stems.items():
                    if name != RESIDUAL and query_key(name) == wanted:
                        return stem
        raise KeyError(query)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stems)

    def __len__(self) -> int:
        return len(self._stems)

    @property
    def residual(self) -> NDArray[np.float32]:
        """The mixture less all stems."""
        return self._stems[RESIDUAL]


class Separator:
    """Separates recordings with one model; loading it takes a fraction of a second.

    Args:
        model: Name of an installed model, or path of a bundle.
        device: "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores.
        spinning: Whether the network's threads keep their cores while they wait for work, which
            is quicker unless other programs need them.

    Raises:
        BundleError: The model is unknown or damaged.
        DeviceError: The device cannot be had.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        device: Device = "auto",
        threads: int = 0,
        spinning: bool = True,
    ) -> None:
        self._arguments = (model, device, threads, spinning)
        self.bundle = open_model(model)
        self.encoder = QueryEncoder(self.bundle)
        self.estimator: Estimator | StepEstimator
        if isinstance(self.bundle.config, StreamingConfig):
            self.estimator = StepNetwork(self.bundle, device, threads, spinning)
        else:
            self.estimator = MaskEstimator(self.bundle, device, threads, spinning)

    def __reduce__(self) -> tuple[type[Separator], tuple[Any, ...]]:
        """What is pickled is how it was loaded; it is loaded anew."""
        return Separator, self._arguments

    def __copy__(self) -> Separator:
        """Another one with the same parts, which keep nothing of what they separate."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Separator:
        """The same: a network is loaded once."""
        return self.__copy__()

    def separate(
        self,
        audio: ArrayLike,
        sample_rate: float,
        queries: Queries | Settings,
        progress: Callable[[int], object] | None = None,
    ) -> Stems:
        """Separate a recording.

        Args:
            audio: (channels, frames), or (frames,) for mono; floating point, finite.
            sample_rate: In Hz.
            queries: What to separate: texts, queries with gains, mutes, solos or as negative ones,
                or :class:`audiosep_core.Settings` with all that a live stream can be asked.
            progress: Called with the number of frames done since the last call.

        Returns:
            A stem for each query that is not negative, and the residual, float32, in the layout of
            ``audio``.

        Raises:
            TypeError: The audio is not floating point.
            ValueError: The audio's shape, its samples or the sample rate are impossible; samples
                over 1,000 are integers that were not scaled.
            QueryError: A query is empty, too long or given twice, or all are negative.
        """
        mixture = check_audio(audio)
        flat = mixture[None] if mixture.ndim == 1 else mixture
        settings = Settings.of(queries)
        names = stem_queries(settings)
        stream = self.stream(settings, sample_rate, flat.shape[0])
        parts = []
        block = int(_BLOCK_SECONDS * sample_rate)
        for start in range(0, flat.shape[-1], block):
            part = flat[:, start : start + block]
            parts.append(stream.push(part))
            if progress is not None:
                progress(part.shape[-1])
        parts.append(stream.finish())
        stems = np.concatenate(parts, -1).reshape(len(names) + 1, *mixture.shape)
        return Stems(dict(zip([*names, RESIDUAL], stems, strict=True)))

    def stream(self, queries: Queries | Settings, sample_rate: float, channels: int) -> Stream:
        """A stream with offline quality and bounded memory, for a recording of any length.

        Args:
            queries: As in :meth:`separate`.
            sample_rate: In Hz, a whole number of at least 1,000.
            channels: At least 1.

        Raises:
            ValueError: The sample rate or the number of channels is impossible.
            QueryError: A query is empty or too long.
        """
        settings = Settings.of(queries)
        form = StreamFormat(check_sample_rate(sample_rate), channels, "render", "stems")
        selection = settings.selection(self.encoder.embed(settings.asked))
        return open_stream(
            self.estimator, selection, form.sample_rate, form.channels, self.grouping
        )

    @property
    def grouping(self) -> Windows | Steps:
        """How frames come to the network: for files as the model does best."""
        return offline_grouping(self.bundle.config, self.bundle.context_seconds)


def check_audio(audio: ArrayLike) -> NDArray[np.float32]:
    """Audio as float32 of its own rank.

    Raises:
        TypeError: It is not floating point.
        ValueError: It is empty, has no channel or more than two dimensions, or holds NaN.
    """
    array = floating(audio)
    if array.ndim not in (1, 2):
        raise ValueError(f"audio must be (channels, frames) or (frames,), not {array.shape}")
    if array.ndim == 2 and array.shape[0] > array.shape[1] > 0:
        raise ValueError(
            f"audio of shape {array.shape} has more channels than frames; transpose it to "
            "(channels, frames)"
        )
    if array.size == 0:
        raise ValueError("audio is empty; there is nothing to separate")
    if not np.isfinite(array).all():
        raise ValueError("audio holds NaN or infinite samples; repair it first")
    check_scale(array)
    return np.ascontiguousarray(array, np.float32)


def check_scale(array: NDArray) -> None:
    """Refuse integers that became floating point without being scaled: they would be silence.

    Raises:
        ValueError: The samples are out of all proportion to full scale, which is 1.
    """
    peak = float(np.abs(array).max(initial=0.0))
    if LARGEST_SAMPLE < peak < np.inf:
        bits = next((bits for bits in (16, 24) if peak <= 2 ** (bits - 1)), 32)
        raise ValueError(
            f"audio reaches {peak:.3g} where full scale is 1: these look like {bits}-bit integers; "
            f"divide by 2**{bits - 1}"
        )


def stem_queries(settings: Settings) -> list[str]:
    """The texts of the stems, each one naming a stem of its own.

    Raises:
        QueryError: A query is given twice, however it is spelled, or is the reserved word
            "residual".
    """
    keys = [query_key(text) for text in settings.texts]
    for text, key in zip(settings.texts, keys, strict=True):
        if keys.count(key) > 1:
            raise QueryError(f"the query {text!r} is given twice; give each query once")
    names = [query.text for query in settings.stems]
    if RESIDUAL in names:
        raise QueryError('"residual" names what is left over; choose another query')
    return names
