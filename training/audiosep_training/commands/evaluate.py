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
from audiosep_core.files.items import Item
from audiosep_core.model.installed import installed_models
from audiosep_training.datasets.recordings import AudioFileIndex
from audiosep_training.evaluation.measures.scores import METRICS, check_metrics, towers_among
from audiosep_training.evaluation.reporting.report import print_lines, publish
from audiosep_training.evaluation.running.records import FILE, ScoreFile
from audiosep_training.evaluation.running.runner import Comparison, score_items
from audiosep_training.evaluation.running.separators import (
    KNOWN,
    SeparatorSpec,
    external_spec,
    model_spec,
)
from audiosep_training.evaluation.sets.benches import BENCHES, Bench
from audiosep_training.evaluation.sets.build import MISSING, Built, build_items, build_pairs
from audiosep_training.evaluation.sets.layouts import SetOptions
from audiosep_training.evaluation.sets.mixtures import mixing_of
from audiosep_training.evaluation.sets.recipes import RECIPES, draw_pairs

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
    "split": click.option(
        "--split",
        type=click.Choice(["test", "validation"]),
        default="test",
        show_default=True,
        help="What of the corpus the mixtures are drawn from.",
    ),
    "paraphrases": click.option(
        "--paraphrases",
        is_flag=True,
        help="Ask in words that no training saw; classes without such words are left out.",
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
  audiosep evaluate open-bench --data recordings -o results
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
    defaults = ", ".join(bench.metrics)
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
            metavar="NAME_OR_PATH",
            help="A model, or path of a bundle; repeat for more.  [default: "
            f"{', '.join(bench.models)}]",
        ),
        click.option(
            "--compare",
            "externals",
            multiple=True,
            metavar="NAME=WHAT",
            help="Another separator on the same mixtures: a command line with {mixture}, {query} "
            "and {output}; or module:function, or module:Class(ARGUMENTS) with a method "
            "'separate'; or the checkpoint of a comparison system (NAME is the system's, for "
            "released ones), with what it is asked with in parentheses, as in "
            "lass-net=LASSNet.pt(text=bert-mini); or, without '=', one of "
            f"{', '.join(KNOWN)}; repeat for more."
            + (f"  [default: {', '.join(bench.others)}]" if bench.others else ""),
        ),
        click.option(
            "--metric",
            "metrics",
            multiple=True,
            type=click.Choice(list(METRICS)),
            help=f"What to measure; repeat for more.  [default: {defaults}]",
        ),
        click.option(
            "--towers",
            metavar="NAME_OR_PATH",
            help="Model whose towers of CLAP measure 'clapscore', which needs no target.  "
            "[default: the first --model that has them]",
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
    towers: str | None,
    count: int | None,
    jobs: int,
    device: str,
    output: Path | None,
    as_json: bool,
    **choices: Any,
) -> None:
    wanted = check_metrics(metrics or bench.metrics)
    if not models and not externals:
        externals = tuple(_runnable(bench.others))
    models = models or _installed(bench.models)
    specs = _distinct([*map(model_spec, models), *map(external_spec, externals)])
    judge = towers_among([towers] if towers else models) if "clapscore" in wanted else ""
    comparison = Comparison(specs, wanted, device, jobs, judge)  # type: ignore[arg-type]
    if count is not None:
        choices["count"] = count
    items: Iterable[Item] = itertools.islice(
        bench.read(SetOptions(data, metadata, **choices)), count
    )
    if bench.count is None:
        # Items that are files weigh nothing, and a fault in their table shows at once.
        items = list(items)
        count = len(items)
    with ScoreFile(output / FILE if output else None) as score_file:
        answers = list(_watched(score_items(comparison, items, score_file), "separating", count))
    if not answers:
        raise AudioPathError(
            f"{data} holds no item of {name}; 'audiosep evaluate build' makes them"
        )
    if publish(name, answers, wanted, output, as_json):
        raise click.exceptions.Exit(1)


def _installed(models: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a bench's models that are there; the first where none is, to be told so."""
    there = installed_models()
    return tuple(name for name in models if name in there) or models[:1]


def _runnable(names: Iterable[str]) -> Iterator[str]:
    """Those whose packages are installed; the others are named once."""
    for name in names:
        try:
            external_spec(name)
        except UsageError as error:
            print_lines("[yellow]left out:[/yellow]", [str(error)])
        else:
            yield name


def _distinct(specs: list[SeparatorSpec]) -> list[SeparatorSpec]:
    for spec in specs:
        if sum(other.name == spec.name for other in specs) > 1:
            raise UsageError(f"two separators are called {spec.name!r}; give each its own name")
    return specs


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
  audiosep evaluate build audioset --raw audioset --detector Cnn14_DecisionLevelMax.pth -o data/as
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
@click.option(
    "--detector",
    type=_FILE,
    metavar="CHECKPOINT",
    help="PANNs' Cnn14_DecisionLevelMax, which finds the two seconds of each class that AudioSet's "
    "mixtures are made of.",
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
    detector: Path | None,
    output: Path,
    count: int | None,
    seconds: float,
    seed: int,
) -> None:
    """Make the evaluation set BENCH from a raw corpus, in the layout that evaluation reads.

    Two recordings of other classes are mixed as the paper mixes them, the same ones for the same
    seed: at 0 dB; of VGGSound each at a loudness of its own (from -35 to -25 LUFS, a range that
    is ours where no table names the files); of AudioSet the
    two seconds that --detector finds (speech-enhancement: at 0 to 15 dB). Clips that are missing
    are left out and listed in DIR/missing.txt.

    Figures of a set that was made from a released table with all its files stand beside the
    paper's. Sets that are drawn are of the same kind, not the same mixtures: compare separators on
    them, not with the paper.
    """
    if bench in RECIPES:
        rng = np.random.default_rng(seed)
        mix = mixing_of(bench, detector)
        index = AudioFileIndex(raw, labels)
        pairs = itertools.islice(draw_pairs(bench, index, metadata, rng), count)
        watched = _watched(pairs, "mixing", count)
        built = build_pairs(bench, watched, output, rng, index.missing, mix)
    else:
        built = _build_drawn(bench, raw, output, count, seconds, seed)
    print_lines("[yellow]skipped:[/yellow]", built.skipped)
    click.echo(f"{built.mixtures} mixtures in {output}, {len(built.skipped)} skipped")
    if built.missing:
        print_lines("[yellow]missing:[/yellow]", [f"{built.missing} clips, see {output / MISSING}"])


def _build_drawn(
    name: str, raw: Path, output: Path, count: int | None, seconds: float, seed: int
) -> Built:
    bench = BENCHES[name]
    number = count or bench.count or 1
    options = SetOptions(raw, query=bench.query, count=number, seconds=seconds, seed=seed)
    return build_items(_watched(bench.read(options), "mixing", number), output)


for _name, _bench in BENCHES.items():
    command.add_command(_bench_command(_name, _bench))
