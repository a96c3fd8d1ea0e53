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
    from matplotlib.ticker import ScalarFormatter

    axes = figure.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
    image = None
    for axis, (title, levels) in zip(axes, sounds, strict=True):
        image = _draw(axis, levels, top)
        axis.yaxis.set_major_formatter(ScalarFormatter())
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
        figure = new_figure(10, 1.4)
        figure.set_layout_engine("none")
        axis = figure.add_axes((0, 0, 1, 1))
        _draw(axis, levels, top)
        for kilohertz in (0.125, 0.5, 2, 8):
            if kilohertz < levels.kilohertz[-1]:
                axis.text(
                    0.003,
                    kilohertz,
                    f"{kilohertz:g} kHz",
                    color="white",
                    fontsize=7,
                    va="center",
                    transform=axis.get_yaxis_transform(),
                )
        save_figure(path, figure)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG, the whole of it or nothing."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _top(sounds: Iterable[Spectrogram]) -> float:
    return max(float(levels.decibels.max()) for levels in sounds)


def _draw(axis: Axes, levels: Spectrogram, top: float) -> ScalarMappable:
    image = axis.pcolormesh(
        levels.times,
        levels.kilohertz,
        levels.decibels,
        cmap="magma",
        vmin=top - _RANGE_DB,
        vmax=top,
        shading="nearest",
        rasterized=True,
    )
    # Octaves: most of what tells sounds apart lies in the lowest tenth of a linear axis.
    axis.set_yscale("log", base=2)
    axis.set_ylim(_LOWEST_KHZ, levels.kilohertz[-1])
    axis.set_xlim(0, levels.seconds)
    return image
