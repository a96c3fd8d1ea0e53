"""``audiosep separate``: files and folders in, stems out."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path

import click

from audiosep_core.audio_files import FORMATS
from audiosep_core.batch import Outcome, Recipe, WrittenStem
from audiosep_core.catalogue import Job, plan, read_list
from audiosep_core.cluster import RayWorkers
from audiosep_core.commands.console import console, device_option, file_progress, model_option
from audiosep_core.journal import JOURNAL, Journal
from audiosep_core.models import open_model
from audiosep_core.runs import Executor, InProcess, run
from audiosep_core.separator import distinct_queries


@click.command(
    epilog="""\b
Examples:
  audiosep separate talk.wav -q "a person speaking" -o stems
  audiosep separate album/ -q drums -q "electric guitar" -o stems --residual
  audiosep separate --list songs.txt -q drums -o stems --resume --ray auto
"""
)
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-q",
    "--query",
    "queries",
    multiple=True,
    required=True,
    metavar="TEXT",
    help="A sound to separate, in words; repeat for more stems.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the stems: DIR/<input>/<query>.<ending>.",
)
@click.option("--residual", is_flag=True, help="Write what the stems leave over, too.")
@click.option(
    "--pack",
    "packs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take queries from what 'audiosep queries pack' wrote; repeat for more.",
)
@model_option
@device_option
@click.option(
    "--format",
    "format",
    type=click.Choice(list(FORMATS)),
    help="wav (32-bit float) or flac (24 bit) instead of each input's own type.",
)
@click.option(
    "--list",
    "catalogue",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also separate the files that FILE lists, one path a line; '-' reads standard input. "
    "Each keeps its path below DIR.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--resume", is_flag=True, help="Leave out what an earlier run with these options finished."
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Threads of the network on the CPU; all cores if not given, with --ray one a worker.",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run on a Ray cluster, one worker a core or GPU: 'auto', host:port, ray://host:port, or "
    "'local' for this machine alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    inputs: tuple[Path, ...],
    queries: tuple[str, ...],
    output: Path,
    residual: bool,
    packs: tuple[Path, ...],
    model: str,
    device: str,
    format: str | None,
    catalogue: Path | None,
    overwrite: bool,
    resume: bool,
    threads: int,
    ray: str | None,
    as_json: bool,
) -> None:
    """Separate INPUTS, audio files or folders of them, into one stem for each query.

    Stems keep the rate, the channels and the sample type of their input. A run over several files
    keeps a journal in DIR, which --resume reads.
    """
    if not inputs and catalogue is None:
        raise click.UsageError("Missing argument 'INPUTS...'; name files, or give --list FILE.")
    recipe = Recipe(
        queries=tuple(distinct_queries(queries)),
        model=model,
        device=device,  # type: ignore[arg-type]
        threads=threads,
        packs=packs,
        with_residual=residual,
        format=format,
    )
    jobs = plan(inputs, output, read_list(catalogue) if catalogue else [])
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        progress = stack.enter_context(file_progress(len(jobs)))
        executor: Executor
        if ray is None:
            separator = recipe.separator()
            bundle = separator.bundle
            executor = InProcess(separator, recipe, progress.file)
        else:
            bundle = open_model(model)
            # Ray tells of workers that died on standard output, which is for what was written.
            stack.enter_context(redirect_stdout(sys.stderr))
            executor = stack.enter_context(RayWorkers(ray, recipe, bundle))
        journal = None
        if len(jobs) > 1 or resume or (output / JOURNAL).exists():
            journal = stack.enter_context(Journal(output, recipe, bundle))
        if len(jobs) > 1:
            stack.callback(_summarise, jobs, outcomes)
        running = run(jobs, recipe, executor, journal, resume=resume, overwrite=overwrite)
        for outcome in stack.enter_context(closing(running)):
            outcomes.append(outcome)
            progress.advance()
    places = {job.folder: place for place, job in enumerate(jobs)}
    outcomes.sort(key=lambda outcome: places[outcome.job.folder])
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(jobs) == 1 and errors:
        raise errors[0]
    for outcome in outcomes:
        _warn(outcome.stems)
    if as_json:
        click.echo(json.dumps(_report(outcomes), indent=2))
    else:
        for outcome in outcomes:
            for stem in outcome.stems:
                click.echo(stem.path)
    if errors:
        raise click.exceptions.Exit(max(error.exit_code for error in errors))


def _summarise(jobs: list[Job], outcomes: list[Outcome]) -> None:
    """Say what failed, and how to go on, also when the run was interrupted."""
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        console.print(f"[red]failed:[/red] {len(failures)} of {len(jobs)} files", highlight=False)
    for failure in failures:
        console.print(f"  {failure}", highlight=False, markup=False)
    if len(outcomes) < len(jobs):
        done = len(outcomes) - len(failures)
        console.print(
            f"{done} of {len(jobs)} files are done; --resume goes on from there", highlight=False
        )


def _warn(written: list[WrittenStem]) -> None:
    for stem in written:
        if stem.clipped:
            console.print(
                f"[yellow]clipped:[/yellow] {stem.path} reaches {stem.peak:.3f} of full scale, "
                f"{stem.clipped} samples were cut off; --format wav keeps them",
                highlight=False,
            )
    if written and written[-1].query == "residual" and written[-1].lossy:
        console.print(
            f"[yellow]lossy:[/yellow] the stems in {written[-1].path.parent} do not sum to the "
            "mixture exactly after compression; --format wav does",
            highlight=False,
        )


def _report(outcomes: list[Outcome]) -> dict[str, object]:
    return {
        "files": [
            {
                "input": str(outcome.job.source),
                "resumed": outcome.resumed,
                "stems": [
                    {
                        "query": stem.query,
                        "path": str(stem.path),
                        "peak": stem.peak,
                        "clipped": stem.clipped,
                    }
                    for stem in outcome.stems
                ],
            }
            for outcome in outcomes
            if outcome.error is None
        ],
        "failures": [
            {"input": str(outcome.job.source), "error": str(outcome.error)}
            for outcome in outcomes
            if outcome.error is not None
        ],
    }
