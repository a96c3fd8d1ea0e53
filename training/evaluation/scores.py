"""What can be measured of an estimate, by name."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import UsageError
from training.evaluation.bss_eval import bss_sdr
from training.evaluation.items import Sounds, resample
from training.evaluation.layouts import SPEECH_RATE
from training.evaluation.speech_quality import composite, segmental_snr
from training.metrics import sdr, sdr_improvement, si_sdr


class Result:
    """An estimate beside what it should be.

    Args:
        sounds: The mixture and the target.
        estimate: (channels, frames) float32, what a separator made of the mixture.
    """

    def __init__(self, sounds: Sounds, estimate: NDArray[np.float32]) -> None:
        self.target = sounds.target.ravel()
        self.estimate = estimate.ravel()
        self.mixture = sounds.mixture.ravel()
        self._sounds = sounds
        self._estimate = estimate

    @functools.cached_property
    def speech(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Target and estimate as speech measures take them: mono at 16 kHz."""
        return self._mono(self._sounds.target), self._mono(self._estimate)

    @functools.cached_property
    def pesq(self) -> float:
        """Wide-band PESQ (ITU-T P.862.2), NaN where it finds no speech."""
        from pesq import PesqError, pesq

        if not self.speech[0].any():
            return float("nan")
        try:
            return float(pesq(SPEECH_RATE, *self.speech, "wb"))
        except PesqError:
            return float("nan")

    @functools.cached_property
    def composite(self) -> tuple[float, float, float]:
        """CSIG, CBAK and COVL."""
        return composite(*self.speech, SPEECH_RATE, self.pesq)

    def stoi(self) -> float:
        """Short-time objective intelligibility, 0…1; NaN where there is too little speech."""
        from pystoi import stoi

        if not self.speech[0].any():
            return float("nan")
        with warnings.catch_warnings():
            # It warns and returns 1e-5 where fewer than 30 frames hold speech.
            warnings.simplefilter("error", RuntimeWarning)
            try:
                return float(stoi(*self.speech, SPEECH_RATE))
            except RuntimeWarning:
                return float("nan")

    def _mono(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        return resample(audio.mean(0, keepdims=True), self._sounds.sample_rate, SPEECH_RATE)[0]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measure, of which more is better.

    Attributes:
        title: As it heads a column.
        measure: Computes it.
        decimals: How many are worth printing.
        package: What has to be installed for it.
    """

    title: str
    measure: Callable[[Result], float]
    decimals: int = 2
    package: str = ""


METRICS: dict[str, Metric] = {
    "sdri": Metric("SDRi dB", lambda it: sdr_improvement(it.target, it.estimate, it.mixture)),
    "si_sdr": Metric("SI-SDR dB", lambda it: si_sdr(it.target, it.estimate)),
    "sdr": Metric("SDR dB", lambda it: sdr(it.target, it.estimate)),
    "bss_sdr": Metric("BSS SDR dB", lambda it: bss_sdr(it.target, it.estimate)),
    "pesq": Metric("PESQ", lambda it: it.pesq, package="pesq"),
    "stoi": Metric("STOI", lambda it: it.stoi(), decimals=3, package="pystoi"),
    "csig": Metric("CSIG", lambda it: it.composite[0], package="pesq"),
    "cbak": Metric("CBAK", lambda it: it.composite[1], package="pesq"),
    "covl": Metric("COVL", lambda it: it.composite[2], package="pesq"),
    "ssnr": Metric("SSNR dB", lambda it: segmental_snr(*it.speech, SPEECH_RATE)),
}


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that were asked for, each once.

    Raises:
        UsageError: One needs a package that is not installed.
    """
    import importlib.util

    for name in names:
        package = METRICS[name].package
        if package and importlib.util.find_spec(package) is None:
            raise UsageError(
                f"the metric {name} needs the package {package!r}; install audiosep with the "
                "extra 'evaluate', for example: pip install 'audiosep[cpu,evaluate]', or choose "
                "others with --metric"
            )
    return tuple(dict.fromkeys(names))


def measure(
    sounds: Sounds, estimate: NDArray[np.float32], metrics: Sequence[str]
) -> dict[str, float | None]:
    """The metrics of one estimate; None where one is undefined, as PESQ without speech is."""
    result = Result(sounds, estimate)
    values = {name: METRICS[name].measure(result) for name in metrics}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
