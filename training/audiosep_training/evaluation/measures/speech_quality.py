"""Composite measures of enhanced speech, and the distances that they are made of.

Hu and Loizou, "Evaluation of objective quality measures for speech enhancement" (2008), with the
frames, limits and constants of Loizou's published program: 30 ms Hann windows, a quarter apart;
means of the log-likelihood ratio and of the weighted spectral slope over the 95 % best frames.
All take (samples,) speech and its estimate at one rate.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solve_toeplitz, toeplitz

_FRAME_SECONDS = 0.03
_OVERLAPPING = 4
_BEST = 0.95
_SNR_LIMITS = (-10.0, 35.0)
_EPSILON = float(np.finfo(np.float64).eps)
#: Critical bands of Klatt's measure: centres and widths in Hz.
# fmt: off
_CENTRES = np.array([
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17,
    3597.63,
])
_WIDTHS = np.array([
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
    153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465,
    346.136,
])
# fmt: on
_GLOBAL_PEAK_DB = 20.0
_LOCAL_PEAK_DB = 1.0
_LOWEST_DB = -100.0
_LPC_ORDER = 16
_LPC_ORDER_NARROW = 10
_NARROW_RATE = 10_000
_UNLIKELY = 1000.0


def segmental_snr(
    reference: NDArray[np.float32], estimate: NDArray[np.float32], sample_rate: int
) -> float:
    """Mean over frames of their signal-to-noise ratio in dB, each held in −10…35 (SSNR)."""
    clean = _frames(reference, sample_rate)
    noise = clean - _frames(estimate, sample_rate)
    ratio = (clean**2).sum(1) / ((noise**2).sum(1) + _EPSILON)
    return float(np.mean(np.clip(10 * np.log10(ratio + _EPSILON), *_SNR_LIMITS)))


def log_likelihood_ratio(
    reference: NDArray[np.float32], estimate: NDArray[np.float32], sample_rate: int
) -> float:
    """How much worse the estimate's linear prediction fits the reference; 0 for equals (LLR)."""
    order = _LPC_ORDER if sample_rate >= _NARROW_RATE else _LPC_ORDER_NARROW
    ratios: list[float] = []
    pairs = zip(
        _frames(reference, sample_rate, _EPSILON),
        _frames(estimate, sample_rate, _EPSILON),
        strict=True,
    )
    for clean, processed in pairs:
        correlation = _autocorrelation(clean, order)
        matrix = toeplitz(correlation)
        try:
            own = _prediction_error(correlation)
            other = _prediction_error(_autocorrelation(processed, order))
        except LinAlgError:
            ratios.append(_UNLIKELY)
            continue
        ratio = float((other @ matrix @ other) / (own @ matrix @ own))
        ratios.append(ratio if ratio > 0 else _UNLIKELY)
    return _mean_of_best(np.log(ratios))


def weighted_slope_distance(
    reference: NDArray[np.float32], estimate: NDArray[np.float32], sample_rate: int
) -> float:
    """Distance of spectral slopes between critical bands, in dB² weighted near peaks (WSS)."""
    clean = _band_levels(reference, sample_rate)
    processed = _band_levels(estimate, sample_rate)
    slopes = [np.diff(levels) for levels in (clean, processed)]
    weights = (_peak_weights(clean, slopes[0]) + _peak_weights(processed, slopes[1])) / 2
    distances = (weights * (slopes[0] - slopes[1]) ** 2).sum(1) / weights.sum(1)
    return _mean_of_best(distances)


def composite(
    reference: NDArray[np.float32],
    estimate: NDArray[np.float32],
    sample_rate: int,
    pesq: float,
) -> tuple[float, float, float]:
    """Predicted opinions, 1 to 5: of the signal, of the background, and overall.

    Args:
        reference: (samples,) clean speech.
        estimate: (samples,) enhanced speech.
        sample_rate: In Hz.
        pesq: PESQ of the two; papers at 16 kHz take the wide-band one.

    Returns:
        CSIG, CBAK and COVL.
    """
    likelihood = log_likelihood_ratio(reference, estimate, sample_rate)
    slope = weighted_slope_distance(reference, estimate, sample_rate)
    snr = segmental_snr(reference, estimate, sample_rate)
    signal = 3.093 - 1.029 * likelihood + 0.603 * pesq - 0.009 * slope
    background = 1.634 + 0.478 * pesq - 0.007 * slope + 0.063 * snr
    overall = 1.594 + 0.805 * pesq - 0.512 * likelihood - 0.007 * slope
    opinions = np.clip([signal, background, overall], 1, 5)
    return float(opinions[0]), float(opinions[1]), float(opinions[2])


def _frames(
    audio: NDArray[np.float32], sample_rate: int, offset: float = 0.0
) -> NDArray[np.float64]:
    """(frames, window) windowed; the last frame is left out, as in Loizou's program."""
    window, hop = _frame_lengths(sample_rate)
    if len(audio) < window + hop:
        raise ValueError(
            f"{len(audio)} samples at {sample_rate} Hz are too short; at least {window + hop} "
            "are needed"
        )
    # An offset of epsilon keeps the prediction of digital silence defined.
    frames = sliding_window_view(audio.astype(np.float64) + offset, window)[::hop]
    count = (len(audio) - window) // hop
    # The symmetric Hann window without its zeros.
    shape = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, window + 1) / (window + 1)))
    return frames[:count] * shape


def _frame_lengths(sample_rate: int) -> tuple[int, int]:
    window = round(_FRAME_SECONDS * sample_rate)
    return window, int(_FRAME_SECONDS * sample_rate / _OVERLAPPING)


def _mean_of_best(distances: NDArray[np.float64]) -> float:
    return float(np.mean(np.sort(distances)[: round(len(distances) * _BEST)]))


def _autocorrelation(frame: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    return np.array([frame[: len(frame) - lag] @ frame[lag:] for lag in range(order + 1)])


def _prediction_error(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """The filter 1, −a₁, −a₂… that leaves of a signal what its past does not predict."""
    return np.concatenate([[1.0], -solve_toeplitz(correlation[:-1], correlation[1:])])


def _band_levels(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """(frames, bands) power in critical bands, in dB from −100."""
    frames = _frames(audio, sample_rate, _EPSILON)
    size = 2 ** int(np.ceil(np.log2(2 * frames.shape[1])))
    power = np.abs(np.fft.rfft(frames, size)[:, : size // 2]) ** 2
    bins = size / sample_rate
    offset = np.arange(size // 2) - np.floor(_CENTRES * bins)[:, None]
    filters = np.exp(-11 * (offset / (_WIDTHS * bins)[:, None]) ** 2)
    filters *= (_WIDTHS[0] / _WIDTHS)[:, None]
    # Filters end at −30 dB.
    filters[filters <= np.exp(-30 / (2 * 2.303))] = 0
    return np.maximum(10 * np.log10(np.maximum(power @ filters.T, 1e-30)), _LOWEST_DB)


def _peak_weights(levels: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frames, bands − 1) Klatt's weights: large near the frame's peak and near a local one."""
    from_top = levels.max(1, keepdims=True) - levels[:, :-1]
    from_near = _near_peaks(levels, slopes) - levels[:, :-1]
    overall = _GLOBAL_PEAK_DB / (_GLOBAL_PEAK_DB + from_top)
    return overall * _LOCAL_PEAK_DB / (_LOCAL_PEAK_DB + from_near)


def _near_peaks(levels: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(frames, bands − 1) level of the peak that each slope leads to.

    Where the level rises, Loizou's program takes the band before the peak, and so do the figures
    that are published; where it falls, the peak itself.
    """
    near = np.empty_like(slopes)
    bands = slopes.shape[1]
    rising = slopes > 0
    rows = np.arange(len(slopes))
    ahead = np.full(len(slopes), bands)
    for band in reversed(range(bands)):
        ahead = np.where(rising[:, band], ahead, band)
        near[:, band] = levels[rows, np.maximum(ahead - 1, 0)]
    behind = np.full(len(slopes), -1)
    for band in range(bands):
        behind = np.where(rising[:, band], band, behind)
        near[:, band] = np.where(rising[:, band], near[:, band], levels[rows, behind + 1])
    return near
