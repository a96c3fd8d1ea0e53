"""The front door: separate an array by a list of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.device import Device
from audiosep_core.errors import QueryError
from audiosep_core.masking import Estimator
from audiosep_core.models import DEFAULT_MODEL, open_model
from audiosep_core.queries import QueryEncoder, check_queries
from audiosep_core.selection import Selection
from audiosep_core.session import MaskEstimator
from audiosep_core.stream import SeparationStream
from audiosep_core.windows import offline_windows

RESIDUAL = "residual"
_BLOCK_SECONDS = 4.0


class Stems(Mapping[str, NDArray[np.float32]]):
    """Stems by query, then ``residual``: together they sum to the mixture.

    >>> stems["a person speaking"], stems.residual
    """

    def __init__(self, stems: dict[str, NDArray[np.float32]]) -> None:
        self._stems = stems

    def __getitem__(self, query: str) -> NDArray[np.float32]:
        return self._stems[query]

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
        self.bundle = open_model(model)
        self.encoder = QueryEncoder(self.bundle)
        self.estimator: Estimator = MaskEstimator(self.bundle, device, threads, spinning)

    def separate(
        self,
        audio: ArrayLike,
        sample_rate: float,
        queries: Sequence[str] | str,
        progress: Callable[[int], object] | None = None,
    ) -> Stems:
        """Separate a recording.

        Args:
            audio: (channels, frames), or (frames,) for mono; float32 or float64, finite.
            sample_rate: In Hz.
            queries: What to separate, in words.
            progress: Called with the number of frames done since the last call.

        Returns:
            A stem for each query and the residual, float32, in the layout of ``audio``.

        Raises:
            TypeError: The audio is not floating point.
            ValueError: The audio's shape, its samples or the sample rate are impossible.
            QueryError: A query is empty, too long or given twice.
        """
        mixture = check_audio(audio)
        flat = mixture[None] if mixture.ndim == 1 else mixture
        names = distinct_queries(queries)
        stream = self.stream(names, sample_rate, flat.shape[0])
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

    def stream(
        self, queries: Sequence[str] | str, sample_rate: float, channels: int
    ) -> SeparationStream:
        """A stream with offline quality and bounded memory, for a recording of any length.

        Args:
            queries: What to separate, in words.
            sample_rate: In Hz, a whole number of at least 1,000.
            channels: At least 1.

        Raises:
            ValueError: The sample rate or the number of channels is impossible.
            QueryError: A query is empty or too long.
        """
        rate = check_sample_rate(sample_rate)
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        selection = Selection.plain(self.encoder.embed(check_queries(queries)))
        windows = offline_windows(self.bundle)
        return SeparationStream(self.estimator, selection, rate, channels, windows)


def check_audio(audio: ArrayLike) -> NDArray[np.float32]:
    """Audio as float32 of its own rank.

    Raises:
        TypeError: It is not floating point.
        ValueError: It is empty, has no channel or more than two dimensions, or holds NaN.
    """
    array = np.asarray(audio)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"audio must be float32 or float64 in -1…1, not {array.dtype}; scale integers first"
        )
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
    return np.ascontiguousarray(array, np.float32)


def check_sample_rate(sample_rate: float) -> int:
    """A sample rate as a whole number.

    Raises:
        ValueError: It is not a whole number from 1,000 to 1,536,000.
    """
    if not 1_000 <= sample_rate <= 1_536_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample_rate must be a whole number of Hz from 1000, not {sample_rate!r}")
    return int(sample_rate)


def distinct_queries(queries: Sequence[str] | str) -> list[str]:
    """Queries with white space tidied, each one naming a stem of its own.

    Raises:
        QueryError: One is empty, too long, given twice, or the reserved word "residual".
    """
    names = check_queries(queries)
    for name in names:
        if names.count(name) > 1:
            raise QueryError(f"the query {name!r} is given twice; give each query once")
        if name == RESIDUAL:
            raise QueryError('"residual" names what is left over; choose another query')
    return names
