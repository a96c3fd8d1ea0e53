"""``audiosep bench latency``: what quality costs in latency and compute."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from audiosep_core.audio_files import AudioReader
from audiosep_core.commands.console import console, model_option
from audiosep_core.demo import demo_sources
from audiosep_core.errors import AudioPathError
from audiosep_core.metrics import sdr_improvement
from audiosep_core.separator import Separator
from audiosep_core.windows import Windows
from plugin_bridge.engine import StreamingSeparator
from plugin_bridge.latency import stream_latency
from plugin_bridge.modes import Mode, WindowSeconds, mode_windows

RATES = (44_100, 48_000, 88_200, 96_000, 192_000)
_MODES: tuple[Mode, ...] = ("render", "mix", "track")
#: Windows between and beyond the modes: hop, context and look-ahead in seconds.
_CURVE = (
    WindowSeconds(0.064, 0.8, 0.0),
    WindowSeconds(0.064, 0.8, 0.064),
    WindowSeconds(0.064, 0.8, 0.192),
    WindowSeconds(0.128, 0.4, 0.128),
    WindowSeconds(0.128, 1.5, 0.128),
    WindowSeconds(0.256, 1.0, 0.256),
    WindowSeconds(0.5, 1.0, 0.25),
    WindowSeconds(0.5, 2.0, 0.5),
    WindowSeconds(0.5, 1.0, 1.0),
    WindowSeconds(1.0, 2.0, 2.0),
)


@dataclasses.dataclass(frozen=True)
class Item:
    """A mixture of which one source is known.

    Attributes:
        query: What the target is, in words.
        mixture: (channels, frames).
        target: (channels, frames).
        sample_rate: In Hz.
    """

    query: str
    mixture: NDArray[np.float32]
    target: NDArray[np.float32]
    sample_rate: int


@dataclasses.dataclass(frozen=True)
class Point:
    """What one choice of windows comes to.

    Attributes:
        name: The mode, or "own".
        windows: The windows.
        cost: Frames the network computes for each frame of sound.
        latency: Rate in Hz to samples.
        sdri: Mean improvement of the SDR over the mixture, in dB.
    """

    name: str
    windows: Windows
    cost: float
    latency: dict[int, int]
    sdri: float


@click.command()
@model_option
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of folders with mixture.wav, target.wav and query.txt [default: the demo].",
)
@click.option(
    "-o",
    "--output",
    default="latency.png",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Picture of the curve.",
)
@click.option("--modes-only", is_flag=True, help="Leave out the windows between the modes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(model: str, items: Path | None, output: Path, modes_only: bool, as_json: bool) -> None:
    """Print quality, latency and cost of the modes, and of windows between them."""
    separator = Separator(model, "cpu")
    examples = read_items(items) if items else demo_items()
    choices = [*_MODES, *(() if modes_only else _CURVE)]
    points = []
    for number, mode in enumerate(choices, 1):
        if console.is_terminal:
            console.print(f"{number}/{len(choices)}", end="\r")
        points.append(measure(separator, mode, examples))
    points.sort(key=lambda point: point.latency[48_000])
    save_curve(output, points, separator.bundle.name)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(point) for point in points], indent=2))
    else:
        click.echo("\n".join(table(points, separator)))
        click.echo(f"{len(examples)} mixtures; picture: {output}")


def measure(separator: Separator, mode: Mode, items: list[Item]) -> Point:
    """Stream all items with a mode's windows."""
    windows = mode_windows(mode, separator.bundle)
    config = separator.bundle.config
    gains = []
    for item in items:
        stream = StreamingSeparator(
            item.query, item.sample_rate, len(item.mixture), windows, separator
        )
        parts = [stream.process(item.mixture), stream.flush()]
        target = np.concatenate(parts, -1)[:, stream.latency_samples :]
        gains.append(sdr_improvement(item.target.ravel(), target.ravel(), item.mixture.ravel()))
    return Point(
        name=mode if isinstance(mode, str) else "own",
        windows=windows,
        cost=windows.cost,
        latency={rate: stream_latency(windows, config, rate).total for rate in RATES},
        sdri=float(np.mean(gains)),
    )


def table(points: list[Point], separator: Separator) -> list[str]:
    """Lines of text, one for each point, below a head."""
    config = separator.bundle.config
    frame = config.hop / config.sample_rate
    head = f"{'mode':<7}{'hop':>7}{'context':>9}{'ahead':>7} s{'cost':>7}{'SDRi':>7} dB   latency:"
    lines = [head + "".join(f"{rate / 1000:>9g}" for rate in RATES) + " kHz"]
    for point in points:
        windows = point.windows
        lines.append(
            f"{point.name:<7}{windows.hop * frame:>7.3f}{windows.context * frame:>9.3f}"
            f"{windows.look_ahead * frame:>7.3f}  {point.cost:>7.2f}{point.sdri:>7.2f}{'':>14}"
            + "".join(f"{point.latency[rate]:>9}" for rate in RATES)
        )
    return lines


def demo_items() -> list[Item]:
    """The mixture that ships, once for each of its sources."""
    sources, sample_rate = demo_sources()
    mixture = np.sum(list(sources.values()), axis=0)
    return [Item(query, mixture, source, sample_rate) for query, source in sources.items()]


def read_items(folder: Path) -> list[Item]:
    """The items in a folder of folders.

    Raises:
        AudioPathError: There is none, or one lacks a file or differs in shape.
        AudioFileError: A file cannot be read.
    """
    items = []
    for query in sorted(folder.glob("*/query.txt")):
        mixture, rate = _read(query.with_name("mixture.wav"))
        target, target_rate = _read(query.with_name("target.wav"))
        if (mixture.shape, rate) != (target.shape, target_rate):
            raise AudioPathError(
                f"{query.parent}: mixture and target differ in length, channels or rate"
            )
        text = query.read_text(encoding="utf-8").strip()
        items.append(Item(text, mixture, target, rate))
    if not items:
        raise AudioPathError(
            f"{folder} holds no items; each is a folder with mixture.wav, target.wav and query.txt"
        )
    return items


def _read(path: Path) -> tuple[NDArray[np.float32], int]:
    with AudioReader(path) as reader:
        return np.concatenate(list(reader.blocks(1 << 20)), -1), reader.sample_rate


def save_curve(path: Path, points: list[Point], model: str) -> None:
    """Draw quality and cost over latency as a PNG.

    Raises:
        AudioPathError: The picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    seconds = [point.latency[48_000] / 48_000 for point in points]
    above.plot(seconds, [point.sdri for point in points], "o", color="tab:blue")
    below.plot(seconds, [point.cost for point in points], "o", color="tab:red")
    for point, at in zip(points, seconds, strict=True):
        if point.name != "own":
            above.annotate(
                point.name, (at, point.sdri), textcoords="offset points", xytext=(6, -12)
            )
            below.annotate(point.name, (at, point.cost), textcoords="offset points", xytext=(6, 4))
    above.set_title(f"{model}: quality and cost over latency", loc="left")
    above.set_ylabel("SDRi in dB")
    below.set_ylabel("cost: window / hop")
    below.set_xlabel("latency at 48 kHz in seconds")
    below.set_xscale("log")
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.margins(0.12)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise AudioPathError(f"{path} cannot be written: {error.strerror or error}") from None
