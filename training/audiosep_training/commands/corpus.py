"""``audiosep corpus``: sounds that Debian packages carry in, a stored corpus out."""

from __future__ import annotations

from pathlib import Path

import click

from audiosep_core.commands.console import console
from audiosep_training.corpus.added import read_manifest
from audiosep_training.corpus.build import build_corpus, summary
from audiosep_training.corpus.fetch import fetch_packages
from audiosep_training.corpus.labels import load_labels
from audiosep_training.corpus.packages import load_packages
from audiosep_training.corpus.store import Corpus


@click.group()
def command() -> None:
    """A training corpus of the openly licensed sounds that Debian packages carry."""


@command.command(
    "build",
    epilog="""\b
Examples:
  audiosep corpus build data/corpus --packages data/packages
  audiosep corpus build data/corpus --add recordings/manifest.csv
""",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--packages",
    "packages_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the packages are kept; what is there is not fetched again.  [default: "
    "FOLDER/packages]",
)
@click.option(
    "--add",
    "manifests",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="MANIFEST",
    help="Sounds of your own or of others, too: a table with the columns file and class, beside "
    "them caption, domain, speaker, licence and source; repeat for more.",
)
def build_command(folder: Path, packages_folder: Path | None, manifests: tuple[Path, ...]) -> None:
    """Fetch the packages (about 5 GB) and store their sounds in FOLDER.

    Needs fluidsynth and ffmpeg, and Debian 12 for the download. The same packages give the same
    corpus to the byte.
    """
    packages = load_packages()
    kept = packages_folder or folder / "packages"
    try:
        added = [file for manifest in manifests for file in read_manifest(manifest)]
        fetch_packages([package.name for package in packages], kept, _report)
        corpus = build_corpus(folder, kept, packages, load_labels(), _report, added)
    except (OSError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(summary(corpus))


@command.command(
    "pack",
    epilog="""\b
Example:
  audiosep corpus pack packed --corpus data/corpus
""",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--corpus",
    "corpus_folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="What 'audiosep corpus build' wrote.",
)
def pack_command(folder: Path, corpus_folder: Path) -> None:
    """Pack the sounds that are trained on into FOLDER, to train on another machine.

    FOLDER gets parts of at most 60 MiB, a table, and the embeddings of all queries, so that the
    other machine needs no text encoder: see audiosep_training/run/device.py.
    """
    from audiosep_training.data.pack import write_pack
    from audiosep_training.data.vocabulary import make_vocabulary

    try:
        corpus = Corpus(corpus_folder)
        write_pack(corpus, make_vocabulary(corpus), folder, _report)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    size = sum(file.stat().st_size for file in folder.iterdir())
    click.echo(f"{folder}: {size / 1e6:.1f} MB in {len(list(folder.iterdir()))} files")


def _report(line: str) -> None:
    console.print(line, highlight=False, markup=False)
