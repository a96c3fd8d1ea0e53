"""Finds recordings that several packages carry, or one package under two names.

Exact copies are easily dropped; copies that were encoded, cut or resampled on the way are not
equal, but their best normalised cross-correlation is close to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from audiosep_training.corpus.store import SAMPLE_RATE

SAME_ABOVE = 0.9
_REDUCTION = 4
_COMPARED_SAMPLES = 2 * SAMPLE_RATE // _REDUCTION
_FFT_SIZE = fft.next_fast_len(2 * _COMPARED_SAMPLES, real=True)


def merge_copies(groups: Sequence[str], audios: Sequence[NDArray[np.int16]]) -> list[str]:
    """Join the groups that share a recording.

    Compared are the first 2 s of the clips below 4 kHz, at the lag that suits best.

    Args:
        groups: The group of each clip.
        audios: The clips, each (samples,) int16 at 32 kHz.

    Returns:
        For each clip the name of its group; joined groups have the least of their names.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    spectra = np.stack([_spectrum(audio) for audio in audios]) if audios else np.empty((0, 0))
    for index, spectrum in enumerate(spectra):
        others = [
            other
            for other in range(index + 1, len(groups))
            if root(groups[other]) != root(groups[index])
        ]
        if not others:
            continue
        correlation = fft.irfft(spectra[others] * spectrum.conj(), _FFT_SIZE, workers=-1)
        for other, peak in zip(others, np.abs(correlation).max(axis=1), strict=True):
            if peak > SAME_ABOVE:
                first, second = sorted((root(groups[index]), root(groups[other])))
                parent[second] = first
    return [root(group) for group in groups]


def _spectrum(audio: NDArray[np.int16]) -> NDArray[np.complex64]:
    part = audio[: _COMPARED_SAMPLES * _REDUCTION].astype(np.float32)
    reduced = signal.resample_poly(part, 1, _REDUCTION)
    energy = float(np.sqrt(np.sum(reduced**2)))
    spectrum: NDArray[np.complex64] = fft.rfft(reduced / max(energy, 1e-9), _FFT_SIZE)
    return spectrum
