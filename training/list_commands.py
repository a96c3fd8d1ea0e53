"""``audiosep lists``: a dataset as distributed in, a JSON list for training out."""

from __future__ import annotations

from pathlib import Path

import click

from audiosep_core.errors import UsageError
from training.list_sources import DATASETS, find_items
from training.lists import write_list


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
    help="AudioSet's class_labels_indices.csv.",
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
