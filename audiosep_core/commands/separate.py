"""``audiosep separate``: files and folders in, stems out."""

from __future__ import annotations

import json
from pathlib import Path

import click

from audiosep_core.audio_files import FORMATS
from audiosep_core.batch import Job, WrittenStem, plan, separate_file
from audiosep_core.commands.console import console, device_option, file_progress, model_option
from audiosep_core.errors import AudioSepError
from audiosep_core.separator import Separator, distinct_queries


@click.command(
    epilog="""\b
Examples:
  audiosep separate talk.wav -q "a person speaking" -o stems
  audiosep separate album/ -q drums -q "electric guitar" -o stems --residual
"""
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
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
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
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
    overwrite: bool,
    as_json: bool,
) -> None:
    """Separate INPUTS, audio files or folders of them, into one stem for each query.

    Stems keep the rate, the channels and the sample type of their input.
    """
    names = distinct_queries(queries)
    jobs = plan(inputs, output)
    separator = Separator(model, device)  # type: ignore[arg-type]
    for pack in packs:
        separator.encoder.add_pack(pack)
    failures: list[AudioSepError] = []
    results: list[tuple[Job, list[WrittenStem]]] = []
    with file_progress(len(jobs)) as progress:
        for job in jobs:
            try:
                with progress.file(job.source.name) as update:
                    written = separate_file(
                        separator,
                        job,
                        names,
                        with_residual=residual,
                        overwrite=overwrite,
                        format=format,
                        progress=update,
                    )
            except AudioSepError as error:
                if len(jobs) == 1:
                    raise
                failures.append(error)
                console.print(f"[red]failed:[/red] {error}", highlight=False)
            else:
                results.append((job, written))
    for _, written in results:
        _warn(written)
    if as_json:
        click.echo(json.dumps(_report(results, failures), indent=2))
    else:
        for _, written in results:
            for stem in written:
                click.echo(stem.path)
    if failures:
        raise click.exceptions.Exit(max(error.exit_code for error in failures))


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


def _report(
    results: list[tuple[Job, list[WrittenStem]]], failures: list[AudioSepError]
) -> dict[str, object]:
    return {
        "files": [
            {
                "input": str(job.source),
                "stems": [
                    {
                        "query": stem.query,
                        "path": str(stem.path),
                        "peak": stem.peak,
                        "clipped": stem.clipped,
                    }
                    for stem in written
                ],
            }
            for job, written in results
        ],
        "failures": [str(error) for error in failures],
    }
