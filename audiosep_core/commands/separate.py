"""``audiosep separate``: files and folders in, stems out."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path

import click

from audiosep_core.commands.console import device_option, file_progress, model_option
from audiosep_core.commands.separate_report import report, report_failures, tell_skipped, warn
from audiosep_core.commands.separate_settings import asked_settings
from audiosep_core.errors import AudioFileError, UsageError
from audiosep_core.files.audio_writer import FORMATS
from audiosep_core.files.catalogue import JOURNAL, Plan, plan, read_paths
from audiosep_core.files.cluster import RayWorkers
from audiosep_core.files.job import Outcome, SeparationOptions
from audiosep_core.files.journal import Journal
from audiosep_core.files.picture import check_drawing
from audiosep_core.files.pipes import STANDARD, kept
from audiosep_core.files.runs import Executor, InProcess, separate_files
from audiosep_core.files.stem_pictures import refuse_pictures, with_picture
from audiosep_core.model.installed import open_model
from audiosep_core.separator import stem_queries
from audiosep_core.settings import Query


@click.command(
    epilog="""\b
Examples:
  audiosep separate talk.wav -q "a person speaking" -o stems
  audiosep separate talk.wav -q "a person speaking" --not "wind noise" --remainder -20 -o stems
  audiosep separate street.wav --like my-dog.wav --model my-clap-model -o stems
  audiosep separate album/ -q drums -q "electric guitar" -o stems --residual
  audiosep separate --list songs.txt -q drums -o stems --resume --ray auto
  ffmpeg -i film.mkv -f wav - | audiosep separate - -q rain -o - > rain.wav
"""
)
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-q",
    "--query",
    "queries",
    multiple=True,
    metavar="TEXT",
    help="A sound to separate, in words; repeat for more stems.",
)
@click.option(
    "--like",
    "likes",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="SOUND",
    help="A sound file like what is to be separated, for models that hear (of CLAP); its name is "
    "the stem's; repeat for more stems.",
)
@click.option(
    "--video",
    "videos",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    metavar="VIDEO",
    help="A video or picture of what is to be separated, for models that see (of CLIP); its name "
    "is the stem's; repeat for more stems.",
)
@click.option(
    "--not",
    "negatives",
    multiple=True,
    metavar="TEXT",
    help="A sound to take out of all stems, in words; repeat for more.",
)
@click.option(
    "--gain",
    "gains",
    multiple=True,
    metavar="QUERY=dB",
    help="Level of a query's stem in dB, such as 'drums=-6'; repeat for more.",
)
@click.option(
    "--plain-masks",
    is_flag=True,
    help="Let stems of queries that overlap sum to more than the input, instead of sharing it.",
)
@click.option(
    "--strength",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="Separate harder (over 1, up to 10) or softer (under 1).",
)
@click.option(
    "--remainder",
    "remainder_db",
    type=float,
    default=-math.inf,
    metavar="dB",
    help="Leave what no query claims in the stems, at this level in all; none if not given.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the stems: DIR/<input>/<query>.<ending>; '-' writes the one stem of one file "
    "to standard output.",
)
@click.option("--residual", is_flag=True, help="Write what the stems leave over, too.")
@click.option(
    "--picture",
    is_flag=True,
    help="Write spectrograms.png beside the stems: the input and each of them, on one scale.",
)
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
@click.option(
    "--overwrite", is_flag=True, help="Replace files that exist, but never an input of the run."
)
@click.option(
    "--partial",
    is_flag=True,
    help="Take what is left of damaged files, say from where to where, and exit with 1.",
)
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
    likes: tuple[str, ...],
    videos: tuple[str, ...],
    negatives: tuple[str, ...],
    gains: tuple[str, ...],
    plain_masks: bool,
    strength: float,
    remainder_db: float,
    output: Path,
    residual: bool,
    picture: bool,
    packs: tuple[Path, ...],
    model: str,
    device: str,
    format: str | None,
    catalogue: Path | None,
    overwrite: bool,
    partial: bool,
    resume: bool,
    threads: int,
    ray: str | None,
    as_json: bool,
) -> None:
    """Separate INPUTS, audio files or folders of them, into one stem for each query.

    '-' is standard input. Stems keep the rate, the channels, the sample type and the tags of
    their input, and at least its bit rate. What libsndfile cannot read (m4a, mp4, mkv, wma and
    others) is read with ffmpeg where that is installed, and written as WAV. A run over several
    files keeps a journal in DIR, which --resume reads; stems of earlier runs are no inputs.
    """
    if not inputs and catalogue is None:
        raise click.UsageError("Missing argument 'INPUTS...'; name files, or give --list FILE.")
    asked = [*map(Query, queries), *(Query(like=file) for file in likes)]
    asked += [Query(video=file) for file in videos]
    if not asked:
        raise click.UsageError("Missing option '-q' / '--query', '--like' or '--video'.")
    if picture:
        check_drawing()
    options = SeparationOptions(
        settings=asked_settings(asked, negatives, gains, strength, remainder_db, plain_masks),
        model=model,
        device=device,  # type: ignore[arg-type]
        threads=threads,
        packs=packs,
        with_residual=residual,
        format=format,
        partial=partial,
    )
    with ExitStack() as stack:
        to_stdout = output == STANDARD
        if to_stdout:
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiosep-")))
        planned = plan(inputs, output, read_paths(catalogue) if catalogue else [])
        if to_stdout:
            _check_one_stem(options, planned, as_json or picture)
        tell_skipped(planned)
        if picture and not (overwrite or resume):
            refuse_pictures(planned)
        planned.jobs = stack.enter_context(kept(planned.jobs))
        outcomes = _run(options, planned, output, resume, overwrite, ray, picture)
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if len(outcomes) == 1 and errors:
            raise errors[0]
        for outcome in outcomes:
            warn(outcome)
        if to_stdout:
            _copy_to_stdout(outcomes[0].stems[0].path)
        elif as_json:
            click.echo(json.dumps(report(outcomes, planned), indent=2))
        else:
            for outcome in outcomes:
                for written in outcome.stems:
                    click.echo(str(written.path))
    codes = [error.exit_code for error in errors]
    codes += [1 for outcome in outcomes if outcome.damage]
    if codes:
        raise click.exceptions.Exit(max(codes))


def _copy_to_stdout(path: Path) -> None:
    try:
        with path.open("rb") as stem:
            shutil.copyfileobj(stem, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would be refused again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise AudioFileError(
            f"the stem cannot be written to standard output: {error.strerror}; make room, or name "
            "a folder with -o"
        ) from None


def _check_one_stem(options: SeparationOptions, planned: Plan, more: bool) -> None:
    stems = len(stem_queries(options.settings)) + options.with_residual
    if stems > 1 or len(planned.jobs) != 1 or more:
        raise UsageError(
            "standard output takes one stem of one file: give one query and one input without "
            "--residual, --picture and --json, or name a folder with -o"
        )


def _run(
    options: SeparationOptions,
    planned: Plan,
    output: Path,
    resume: bool,
    overwrite: bool,
    ray: str | None,
    picture: bool,
) -> list[Outcome]:
    """Do what is planned; returns what became of each input, in their order."""
    jobs = planned.jobs
    outcomes = [Outcome(job, error=error) for job, error in planned.refused.items()]
    everything = [*jobs, *planned.refused]
    with ExitStack() as stack:
        progress = stack.enter_context(file_progress(len(jobs)))
        executor: Executor
        if ray is None:
            separator = options.separator()
            bundle = separator.bundle
            executor = InProcess(separator, options, progress.file)
        else:
            bundle = open_model(options.model)
            # Ray tells of workers that died on standard output, which is for what was written.
            stack.enter_context(redirect_stdout(sys.stderr))
            executor = stack.enter_context(RayWorkers(ray, options, bundle))
        journal = None
        if len(jobs) > 1 or resume or (output / JOURNAL).exists():
            journal = stack.enter_context(Journal(output, options, bundle))
        if len(everything) > 1:
            stack.callback(report_failures, everything, outcomes)
        running = separate_files(
            jobs, options, executor, journal, resume=resume, overwrite=overwrite
        )
        for outcome in stack.enter_context(closing(running)):
            if picture:
                outcome = with_picture(outcome, partial=options.partial, overwrite=overwrite)
            outcomes.append(outcome)
            progress.advance()
    places = {job.source: place for place, job in enumerate(everything)}
    return sorted(outcomes, key=lambda outcome: places[outcome.job.source])
