"""``audiosep bench latency``: what quality costs in latency and compute."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
import numpy as np

from audiosep_core.commands.console import console, model_option
from audiosep_core.demo import demo_sources
from audiosep_core.errors import AudioPathError
from audiosep_core.files.items import Item, MixtureAndTarget, read_items
from audiosep_core.files.picture import check_drawing, new_figure
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.separator import Separator
from audiosep_core.settings import Mode
from audiosep_core.signal.metrics import sdr_improvement
from audiosep_core.signal.windows import Steps, Windows, WindowSeconds
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import mode_windows

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
    windows: Windows | Steps
    cost: float
    latency: dict[int, int]
    sdri: float


@click.command()
@model_option
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of items, as of audiosep evaluate stems [default: the demo].",
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
    check_drawing()
    separator = Separator(model, "cpu")
    examples = load_items(items) if items else demo_items()
    streaming = isinstance(separator.bundle.config, StreamingConfig)
    modes = ("track",) if streaming else _MODES
    choices = [*modes, *(() if modes_only or streaming else _CURVE)]
    points = []
    for number, mode in enumerate(choices, 1):
        if console.is_terminal:
            console.print(f"{number}/{len(choices)}", end="\r")
        points.append(measure_point(separator, mode, examples))
    points.sort(key=lambda point: point.latency[48_000])
    save_curve(output, points, separator.bundle.name)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(point) for point in points], indent=2))
    else:
        click.echo("\n".join(table(points, separator)))
        click.echo(f"{len(examples)} mixtures; picture: {output}")


def measure_point(separator: Separator, mode: Mode, items: list[Item]) -> Point:
    """Stream all items with a mode's windows."""
    windows = mode_windows(mode, separator.bundle)
    config = separator.bundle.config
    gains = []
    for item in items:
        sounds = item.sounds.load()
        mixture = sounds.mixture
        stream = StreamingSeparator(
            item.query, sounds.sample_rate, len(mixture), windows, separator
        )
        parts = [stream.process(mixture), stream.flush()]
        estimate = np.concatenate(parts, -1)[:, stream.latency_samples :]
        gains.append(sdr_improvement(sounds.target.ravel(), estimate.ravel(), mixture.ravel()))
    return Point(
        name=mode if isinstance(mode, str) else "own",
        windows=windows,
        cost=windows.cost,
        latency={rate: stream_latency(windows, config, rate).total for rate in RATES},
        sdri=float(np.mean(gains)),
    )


def _seconds(
    windows: Windows | Steps, config: SeparatorConfig | StreamingConfig
) -> tuple[float, float, float]:
    """Hop, context and look-ahead; a streaming network sees all of the past once."""
    if isinstance(windows, Steps):
        assert isinstance(config, StreamingConfig)
        return windows.frames / config.frame_rate, 0.0, config.look_ahead / config.frame_rate
    assert isinstance(config, SeparatorConfig)
    frame = config.hop_length / config.sample_rate
    return windows.hop * frame, windows.context * frame, windows.look_ahead * frame


def table(points: list[Point], separator: Separator) -> list[str]:
    """Lines of text, one for each point, below a head."""
    head = f"{'mode':<7}{'hop':>7}{'context':>9}{'ahead':>7} s{'cost':>7}{'SDRi':>7} dB   latency:"
    lines = [head + "".join(f"{rate / 1000:>9g}" for rate in RATES) + " kHz"]
    for point in points:
        hop, context, ahead = _seconds(point.windows, separator.bundle.config)
        lines.append(
            f"{point.name:<7}{hop:>7.3f}{context:>9.3f}{ahead:>7.3f}  "
            f"{point.cost:>7.2f}{point.sdri:>7.2f}{'':>14}"
            + "".join(f"{point.latency[rate]:>9}" for rate in RATES)
        )
    return lines


def demo_items() -> list[Item]:
    """The mixture that ships, once for each of its sources."""
    sources, sample_rate = demo_sources()
    mixture = np.sum(list(sources.values()), axis=0)
    return [
        Item(query, "", query, MixtureAndTarget(mixture, source, sample_rate))
        for query, source in sources.items()
    ]


def load_items(folder: Path) -> list[Item]:
    """The items in a folder, as ``audiosep evaluate stems`` reads them.

    Raises:
        AudioPathError: There is none.
        AudioFileError: A file cannot be read, or mixture and target do not fit.
    """
    items = [dataclasses.replace(item, sounds=item.sounds.load()) for item in read_items(folder)]
    if not items:
        raise AudioPathError(
            f"{folder} holds no items; each is a folder with mixture.wav, target.wav and query.txt"
        )
    return items


def save_curve(path: Path, points: list[Point], model: str) -> None:
    """Draw quality and cost over latency as a PNG.

    Raises:
        AudioPathError: The picture cannot be written.
    """
    figure = new_figure(9, 6)
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
