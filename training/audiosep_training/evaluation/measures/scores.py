"""What can be measured of an estimate, by name."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import UsageError
from audiosep_core.extras import install_command, is_there
from audiosep_core.files.items import MixtureAndTarget, resample
from audiosep_core.model.bundle import AUDIO_ENCODER, TEXT_ENCODER
from audiosep_core.model.installed import open_model
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.signal.metrics import sdr, sdr_improvement, si_sdr
from audiosep_training.evaluation.measures.bss_eval import bss_sdr
from audiosep_training.evaluation.measures.speech_quality import composite, segmental_snr
from audiosep_training.evaluation.sets.layouts import SPEECH_RATE

#: Of the mixture's power: less counts as silence.
_LEAST_SHARE = 1e-12


class Estimate:
    """An estimate beside what it should be.

    Args:
        sounds: The mixture and the target.
        estimate: (channels, frames) float32, what a separator made of the mixture.
        query: What asked for it.
        towers: Model with CLAP's towers, for the measure that needs no target.
    """

    def __init__(
        self,
        sounds: MixtureAndTarget,
        estimate: NDArray[np.float32],
        query: str = "",
        towers: str = "",
    ) -> None:
        self._query = query
        self._towers = towers
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

    def clap_score(self) -> float:
        """Cosine of the estimate's embedding and the query's, −1…1; NaN where it is silent."""
        if not self.estimate.any():
            return float("nan")
        encoder = open_towers(self._towers)
        mono = self._estimate.mean(0)
        heard = encoder.embed_sound(mono, self._sounds.sample_rate)
        return float(heard @ encoder.embed([self._query])[0])

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
    measure: Callable[[Estimate], float]
    decimals: int = 2
    package: str = ""


def _attenuation(mixture: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """By how many dB an estimate lies under the mixture; 120 for silence."""
    powers = [float(np.square(sound, dtype=np.float64).mean()) for sound in (mixture, estimate)]
    if not powers[0]:
        return float("nan")
    return 10 * float(np.log10(powers[0] / max(powers[1], powers[0] * _LEAST_SHARE)))


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
    "attenuation": Metric("attenuation dB", lambda it: _attenuation(it.mixture, it.estimate)),
    "clapscore": Metric("CLAPScore", lambda it: it.clap_score(), decimals=3),
    "ssnr": Metric("SSNR dB", lambda it: segmental_snr(*it.speech, SPEECH_RATE)),
}


@functools.cache
def open_towers(model: str) -> QueryEncoder:
    """What embeds sounds and texts.

    Raises:
        UnknownModelError, BundleError: There is no such model, or it is damaged.
    """
    return QueryEncoder(open_model(model))


def towers_among(models: Sequence[str]) -> str:
    """The first of some models that has both of CLAP's towers.

    Raises:
        UsageError: None has.
        UnknownModelError, BundleError: One is not there, or damaged.
    """
    for model in models:
        if {TEXT_ENCODER, AUDIO_ENCODER} <= open_model(model).hashes.keys():
            return model
    raise UsageError(
        "the metric clapscore needs a model with CLAP's towers for text and for sound; name one "
        "with --towers, exported with --text-encoder and --audio-encoder"
    )


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that were asked for, each once.

    Raises:
        UsageError: One needs a package that is not installed.
    """
    for name in names:
        package = METRICS[name].package
        if package and not is_there(package):
            raise UsageError(
                f"the metric {name} needs the package {package!r}; run: "
                f"{install_command('evaluate')}, or choose others with --metric"
            )
    return tuple(dict.fromkeys(names))


def measure(
    sounds: MixtureAndTarget,
    estimate: NDArray[np.float32],
    metrics: Sequence[str],
    query: str = "",
    towers: str = "",
) -> dict[str, float | None]:
    """The metrics of one estimate; None where one is undefined, as PESQ without speech is."""
    result = Estimate(sounds, estimate, query, towers)
    values = {name: METRICS[name].measure(result) for name in metrics}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
