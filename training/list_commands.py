"""``audiosep lists``: a dataset as distributed in, a JSON list for training out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from audiosep_core.errors import UsageError
from training.lists import Item, write_list
from training.recordings import (
    Recording,
    Shelf,
    check_found,
    read_audiocaps,
    read_audioset,
    read_clotho,
    read_vggsound,
    read_wavcaps,
)

#: The paper's training sets.
DATASETS: dict[str, Callable[[Shelf, Path], Iterator[Recording]]] = {
    "audioset": read_audioset,
    "vggsound": functools.partial(read_vggsound, split="train"),
    "audiocaps": functools.partial(read_audiocaps, labelled=False),
    "clotho": functools.partial(read_clotho, labelled=False),
    "wavcaps": read_wavcaps,
}


def find_items(dataset: str, metadata: Path, audio: Path, labels: Path | None) -> list[Item]:
    """An item for each caption of the clips of a dataset that are there.

    Clips whose file is missing (videos disappear) are left out.

    Args:
        dataset: A key of :data:`DATASETS`.
        metadata: The dataset's own table.
        audio: Folder with its sound files, searched with all folders in it.
        labels: AudioSet's ``class_labels_indices.csv``; None for the one in the folder.

    Raises:
        AudioPathError: The labels are missing, or none of the table's files is there.
        MetadataError: A table has another form; the message names line and field.
    """
    shelf = Shelf(audio, labels)
    recordings = check_found(shelf, DATASETS[dataset](shelf, metadata))
    return [
        Item(recording.path, caption) for recording in recordings for caption in recording.captions
    ]


@click.command(
    epilog="""\b
Examples:
  audiosep lists audiocaps --metadata train.csv --audio audiocaps/train -o audiocaps.json
  audiosep lists audioset --metadata unbalanced_train_segments.csv
    --labels class_labels_indices.csv --audio audioset -o audioset.json
"""
)
@click.argument("dataset", type=click.Choice(list(DATASETS)))
@click.option(
    "--metadata",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The dataset's own table (WavCaps: its JSON).",
)
@click.option(
    "--audio",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with its sound files, in folders of any depth.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="AudioSet's class_labels_indices.csv if it is not in the folder.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="LIST",
    help="JSON list to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace a list that exists.")
def command(
    dataset: str, metadata: Path, audio: Path, labels: Path | None, output: Path, overwrite: bool
) -> None:
    """Write a JSON list of the clips of DATASET that are there, for 'audiosep train --list'."""
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; give --overwrite to replace it")
    count = write_list(output, find_items(dataset, metadata, audio, labels))
    click.echo(f"{output}: {count} clips")
