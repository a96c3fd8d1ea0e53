"""Spectrograms as a PNG, to look at what a separation did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WINDOW_SECONDS = 0.04
_RANGE_DB = 80.0
_LOWEST_KHZ = 0.0625


def save_spectrograms(
    path: Path, sounds: Mapping[str, NDArray[np.float32]], sample_rate: int
) -> None:
    """Write what :func:`draw_spectrograms` draws as a PNG."""
    draw_spectrograms(sounds, sample_rate).savefig(path, dpi=110)


def draw_spectrograms(sounds: Mapping[str, NDArray[np.float32]], sample_rate: int) -> Figure:
    """Draw sounds below each other on one time axis and one scale in dB.

    Args:
        sounds: Title to (channels, frames), all of one length; channels are averaged.
        sample_rate: In Hz.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    window = round(_WINDOW_SECONDS * sample_rate)
    transform = ShortTimeFFT(hann(window, sym=False), window // 4, sample_rate)
    levels = {
        title: 10 * np.log10(transform.spectrogram(audio.mean(0)) + 1e-12)
        for title, audio in sounds.items()
    }
    top = max(float(level.max()) for level in levels.values())
    figure = Figure(figsize=(10, 2.1 * len(levels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    length = next(iter(sounds.values())).shape[-1]
    image = None
    for axis, (title, level) in zip(axes, levels.items(), strict=True):
        image = axis.pcolormesh(
            transform.t(length),
            transform.f / 1000,
            level,
            cmap="magma",
            vmin=top - _RANGE_DB,
            vmax=top,
            shading="nearest",
            rasterized=True,
        )
        # Octaves: most of what tells sounds apart lies in the lowest tenth of a linear axis.
        axis.set_yscale("log", base=2)
        axis.set_ylim(_LOWEST_KHZ, sample_rate / 2000)
        axis.set_xlim(0, length / sample_rate)
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="dB", fraction=0.03, pad=0.01)
    return figure
