"""Spectrograms as PNGs, to look at what a separation did."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import hann

from audiosep_core.atomic import replacing
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.picture import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_WINDOW_SECONDS = 0.04
_RANGE_DB = 80.0
_LOWEST_KHZ = 0.0625
#: Of a drawn spectrogram, as many as a picture has pixels.
_ROWS = 200
#: More than a picture has pixels, fewer than would fill the memory.
_MOST_COLUMNS = 2000
_BLOCK_FRAMES = 1 << 17


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """What a spectrogram shows.

    Attributes:
        times: (columns,) in seconds.
        kilohertz: (bins,).
        decibels: (bins, columns), of the mean over channels.
        seconds: Length of the sound.
    """

    times: NDArray[np.float64]
    kilohertz: NDArray[np.float64]
    decibels: NDArray[np.float32]
    seconds: float


def compute_spectrogram(
    blocks: Iterable[NDArray[np.float32]], frames: int, sample_rate: int
) -> Spectrogram:
    """Spectrogram of a sound of any length, in bounded memory.

    Args:
        blocks: Its (channels, n), one behind the other.
        frames: Their length in all.
        sample_rate: In Hz.
    """
    window = round(_WINDOW_SECONDS * sample_rate)
    hop = max(window // 4, math.ceil(frames / _MOST_COLUMNS))
    centres = np.arange(0, frames, hop)
    shape = hann(window, sym=False).astype(np.float32)
    decibels = np.full((window // 2 + 1, len(centres)), -120, np.float32)
    # The first window is centred on the first frame; so many zeros come before and behind.
    held = np.zeros(window // 2, np.float32)
    start, column = -(window // 2), 0

    def take(audio: NDArray[np.float32]) -> None:
        nonlocal held, start, column
        held = np.concatenate([held, audio])
        while column < len(centres):
            at = int(centres[column]) - window // 2 - start
            if at + window > len(held):
                break
            power = np.abs(np.fft.rfft(held[at : at + window] * shape)) ** 2
            decibels[:, column] = 10 * np.log10(power + 1e-12)
            column += 1
        ahead = int(centres[column]) - window // 2 - start if column < len(centres) else len(held)
        done = min(len(held), ahead)
        held, start = held[done:], start + done

    for block in blocks:
        take(block.mean(0))
    take(np.zeros(window, np.float32))
    bins = np.fft.rfftfreq(window, 1 / sample_rate) / 1000
    return Spectrogram(centres / sample_rate, bins, decibels, frames / sample_rate)


def file_spectrogram(path: Path) -> Spectrogram:
    """Spectrogram of a sound file.

    Raises:
        AudioFileError: It cannot be read.
    """
    with AudioReader(path) as reader:
        return reader_spectrogram(reader)


def reader_spectrogram(reader: AudioReader) -> Spectrogram:
    """Spectrogram of a sound file that was just opened.

    Raises:
        AudioFileError: It is damaged.
    """
    return compute_spectrogram(reader.blocks(_BLOCK_FRAMES), reader.frames, reader.sample_rate)


def save_spectrograms(
    path: Path, sounds: Mapping[str, NDArray[np.float32]], sample_rate: int
) -> None:
    """Write what :func:`draw_spectrograms` draws as a PNG."""
    save_figure(path, draw_spectrograms(sounds, sample_rate))


def draw_spectrograms(sounds: Mapping[str, NDArray[np.float32]], sample_rate: int) -> Figure:
    """Draw sounds below each other on one time axis and one scale in dB.

    Args:
        sounds: Title to (channels, frames), all of one length; channels are averaged.
        sample_rate: In Hz.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    return draw_sheet(
        [
            (title, compute_spectrogram([audio], audio.shape[-1], sample_rate))
            for title, audio in sounds.items()
        ]
    )


def draw_sheet(sounds: Sequence[tuple[str, Spectrogram]]) -> Figure:
    """Draw what was measured, with its titles, as :func:`draw_spectrograms`."""
    top = _top(levels for _, levels in sounds)
    figure = new_figure(10, 2.1 * len(sounds))
    axes = figure.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
    image = None
    for axis, (title, levels) in zip(axes, sounds, strict=True):
        image = _draw(axis, levels, top)
        ticks = _ticks(levels)
        axis.set_yticks(np.log2(ticks), [f"{kilohertz:g}" for kilohertz in ticks])
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    if image is not None:
        figure.colorbar(image, ax=list(axes), label="dB", fraction=0.03, pad=0.01)
    return figure


def save_strips(sounds: Sequence[tuple[Path, Spectrogram]]) -> None:
    """Write one PNG a sound without margins, so that its time axis is as wide as a player.

    Args:
        sounds: The file to write, and what was measured; all have one scale in dB.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    top = _top(levels for _, levels in sounds)
    for path, levels in sounds:
        figure = new_figure(10, 1.2)
        figure.set_layout_engine("none")
        figure.set_facecolor("black")
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set_axis_off()
        _draw(axis, levels, top)
        for kilohertz in _ticks(levels):
            axis.text(
                0.004,
                math.log2(kilohertz),
                f"{kilohertz:g} kHz",
                color="white",
                fontsize=8,
                va="center",
                transform=axis.get_yaxis_transform(),
                # Readable on what is loud, too.
                bbox={"facecolor": "black", "alpha": 0.7, "pad": 1, "linewidth": 0},
            )
        save_figure(path, figure)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG, the whole of it or nothing."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _top(sounds: Iterable[Spectrogram]) -> float:
    return max(float(levels.decibels.max()) for levels in sounds)


def _draw(axis: Axes, levels: Spectrogram, top: float) -> ScalarMappable:
    """Draw on a logarithmic axis of frequencies: y is the octave, 0 at 1 kHz."""
    low, high = math.log2(_LOWEST_KHZ), math.log2(levels.kilohertz[-1])
    half = (levels.times[1] - levels.times[0] if len(levels.times) > 1 else levels.seconds) / 2
    axis.set_facecolor("black")
    image = axis.imshow(
        _by_octave(levels, np.linspace(low, high, _ROWS + 1)),
        cmap="magma",
        vmin=top - _RANGE_DB,
        vmax=top,
        aspect="auto",
        origin="lower",
        extent=(-half, float(levels.times[-1]) + half, low, high),
    )
    axis.set_xlim(0, levels.seconds)
    return image


def _by_octave(levels: Spectrogram, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, columns) mean levels between edges in octaves over 1 kHz.

    Octaves, since most of what tells sounds apart lies in the lowest tenth of a linear axis.
    """
    width = levels.kilohertz[1]
    sums = np.cumsum(levels.decibels, axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros((1, sums.shape[1])), sums])
    # A bin reaches half its width to either side.
    places = np.clip(2.0**edges / width + 0.5, 0, len(sums) - 1)
    below = np.minimum(places.astype(int), len(sums) - 2)
    part = (places - below)[:, None]
    until = sums[below] * (1 - part) + sums[below + 1] * part
    return np.diff(until, axis=0) / np.diff(places)[:, None]


def _ticks(levels: Spectrogram) -> list[float]:
    """Frequencies to name, in kHz."""
    return [kilohertz for kilohertz in (0.125, 0.5, 2, 8, 32) if kilohertz < levels.kilohertz[-1]]
