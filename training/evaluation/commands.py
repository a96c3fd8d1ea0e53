"""``audiosep evaluate``: the paper's benchmarks, and any folder of stems."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from audiosep_core.commands.console import console, device_option
from audiosep_core.errors import AudioPathError, UsageError
from audiosep_core.models import DEFAULT_MODEL
from training.evaluation.benches import BENCHES, Bench
from training.evaluation.build import Built, build_items, build_pairs
from training.evaluation.enhancers import ENHANCERS
from training.evaluation.items import Item
from training.evaluation.layouts import Source
from training.evaluation.recipes import RECIPES, draw_pairs
from training.evaluation.records import FILE, Journal
from training.evaluation.report import publish, tell
from training.evaluation.runner import Plan, run
from training.evaluation.scores import METRICS, check_metrics
from training.evaluation.separators import Contender, external_contender, model_contender
from training.recordings import Shelf

_DRAWN = tuple(name for name, bench in BENCHES.items() if bench.count)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FOLDER = click.Path(file_okay=False, path_type=Path)

_CHOICES: dict[str, Callable[[Any], Any]] = {
    "queries": click.option(
        "--queries",
        type=click.Choice(["captions", "labels"]),
        default="captions",
        show_default=True,
        help="What asks for the target.",
    ),
    "seconds": click.option(
        "--seconds",
        type=click.FloatRange(min=0.5),
        default=4.0,
        show_default=True,
        help="Length of mixtures that are drawn.",
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draw."
    ),
}


@click.group(
    epilog="""\b
Examples:
  audiosep evaluate audiocaps --data evaluation/data/audiocaps --metadata audiocaps_eval.csv
  audiosep evaluate stems --data my-stems --model mini --json
  audiosep evaluate speech-enhancement --data data/corpus --compare rnnoise -o results
  audiosep evaluate build esc50 --raw ESC-50-master -o data/esc50
"""
)
def command() -> None:
    """Measure how well models separate, on the paper's benchmarks or on your own stems."""


def _bench_command(name: str, bench: Bench) -> click.Command:
    def callback(**values: Any) -> None:
        _evaluate(name, bench, **values)

    layout = bench.layout.replace("NAME_", f"{name}_")
    callback.__doc__ = (
        f"{bench.summary}\n\nDIR holds {layout}.\n\nEnds with code 1 if items failed; they are "
        "listed, and left out of all figures."
    )
    told = ", ".join(bench.metrics)
    options = [
        click.option(
            "--data", required=True, type=_FOLDER, metavar="DIR", help="Folder of the set."
        ),
        click.option(
            "--metadata",
            type=_FILE,
            metavar="CSV",
            help="Its table, if it is not in the folder.",
        ),
        click.option(
            "--model",
            "models",
            multiple=True,
            default=(DEFAULT_MODEL,),
            show_default=True,
            metavar="NAME_OR_PATH",
            help="A model, or path of a bundle; repeat for more.",
        ),
        click.option(
            "--compare",
            "externals",
            multiple=True,
            metavar="NAME=WHAT",
            help="Another separator on the same mixtures: a command line with {mixture}, {query} "
            "and {output}; or module:function, or module:Class(ARGUMENTS) with a method "
            "'separate'; or, without '=', one of "
            f"{', '.join(ENHANCERS)}; repeat for more.",
        ),
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            type=click.Choice(list(METRICS)),
            help=f"What to measure; repeat for more.  [default: {told}]",
        ),
        click.option(
            "--count",
            type=click.IntRange(min=1),
            default=bench.count,
            show_default=bench.count is not None,
            help="Number of items, from the first on.",
        ),
        *_choices(bench),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes that share the work.",
        ),
        device_option,
        click.option(
            "-o",
            "--output",
            type=_NEW_FOLDER,
            metavar="DIR",
            help="Folder for JSON, CSV and PNG; a run that was stopped goes on from there.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
    ]
    made: Any = callback
    for option in reversed(options):
        made = option(made)
    example = (
        f"\b\nExample:\n  audiosep evaluate {name} --data DIR --compare unprocessed -o results"
    )
    return click.command(name, short_help=bench.summary, epilog=example)(made)


def _choices(bench: Bench) -> Iterator[Callable[[Any], Any]]:
    for choice in bench.choices:
        if choice == "query":
            yield click.option(
                "--query",
                default=bench.query,
                show_default=True,
                metavar="TEXT",
                help="What asks for the target.",
            )
        else:
            yield _CHOICES[choice]


def _evaluate(
    name: str,
    bench: Bench,
    *,
    data: Path,
    metadata: Path | None,
    models: tuple[str, ...],
    externals: tuple[str, ...],
    metrics: tuple[str, ...],
    count: int | None,
    jobs: int,
    device: str,
    output: Path | None,
    as_json: bool,
    **choices: Any,
) -> None:
    wanted = check_metrics(metrics or bench.metrics)
    contenders = _distinct([*map(model_contender, models), *map(external_contender, externals)])
    plan = Plan(contenders, wanted, device, jobs)  # type: ignore[arg-type]
    if count is not None:
        choices["count"] = count
    items: Iterable[Item] = itertools.islice(bench.read(Source(data, metadata, **choices)), count)
    if bench.count is None:
        # Items that are files weigh nothing, and a fault in their table shows at once.
        items = list(items)
        count = len(items)
    with Journal(output / FILE if output else None) as journal:
        answers = list(_watched(run(plan, items, journal), "separating", count))
    if not answers:
        raise AudioPathError(
            f"{data} holds no item of {name}; 'audiosep evaluate build' makes them"
        )
    if publish(name, answers, wanted, output, as_json):
        raise click.exceptions.Exit(1)


def _distinct(contenders: list[Contender]) -> list[Contender]:
    for contender in contenders:
        if sum(other.name == contender.name for other in contenders) > 1:
            raise UsageError(
                f"two separators are called {contender.name!r}; give each its own name"
            )
    return contenders


def _watched(answers: Iterable[Any], title: str, total: int | None = None) -> Iterator[Any]:
    """Pass on, with a count on a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        yield from progress.track(answers, total=total, description=title)


@command.command(
    "build",
    short_help="Make a set from a raw corpus.",
    epilog="""\b
Examples:
  audiosep evaluate build esc50 --raw ESC-50-master -o data/esc50
  audiosep evaluate build clotho --raw clotho --metadata clotho_eval.csv -o data/clotho
  audiosep evaluate build corpus --raw data/corpus -o items --count 48 --seconds 6
""",
)
@click.argument("bench", type=click.Choice([*RECIPES, *_DRAWN]))
@click.option("--raw", required=True, type=_FOLDER, metavar="DIR", help="Folder of the raw corpus.")
@click.option(
    "--metadata",
    type=_FILE,
    metavar="TABLE",
    help="The corpus' own table if it is not in the folder, or a released one that names both "
    "files of each mixture.",
)
@click.option(
    "--labels",
    type=_FILE,
    metavar="CSV",
    help="AudioSet's class_labels_indices.csv if it is not in the folder.",
)
@click.option("-o", "--output", required=True, type=_NEW_FOLDER, metavar="DIR", help="The set.")
@click.option("--count", type=click.IntRange(min=1), help="At most so many mixtures.")
@_CHOICES["seconds"]
@_CHOICES["seed"]
def build(
    bench: str,
    raw: Path,
    metadata: Path | None,
    labels: Path | None,
    output: Path,
    count: int | None,
    seconds: float,
    seed: int,
) -> None:
    """Make the evaluation set BENCH from a raw corpus, in the layout that evaluation reads.

    Two recordings of other classes are mixed at 0 dB (speech-enhancement: at 0 to 15 dB), the
    same ones for the same seed.
    """
    if bench in RECIPES:
        rng = np.random.default_rng(seed)
        pairs = draw_pairs(bench, Shelf(raw, labels), metadata, rng)
        pairs = itertools.islice(pairs, count)
        built = build_pairs(bench, _watched(pairs, "mixing", count), output, rng)
    else:
        built = _build_drawn(bench, raw, output, count, seconds, seed)
    tell("[yellow]skipped:[/yellow]", built.skipped)
    click.echo(f"{built.mixtures} mixtures in {output}, {len(built.skipped)} skipped")


def _build_drawn(
    name: str, raw: Path, output: Path, count: int | None, seconds: float, seed: int
) -> Built:
    bench = BENCHES[name]
    number = count or bench.count or 1
    source = Source(raw, query=bench.query, count=number, seconds=seconds, seed=seed)
    return build_items(_watched(bench.read(source), "mixing", number), output)


for _name, _bench in BENCHES.items():
    command.add_command(_bench_command(_name, _bench))
