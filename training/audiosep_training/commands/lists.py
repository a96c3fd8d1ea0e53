"""``audiosep lists``: a dataset as distributed in, a JSON list for training out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from audiosep_core.errors import UsageError
from audiosep_core.video import VIDEO_ENDINGS
from audiosep_training.data.lists import ListedClip, write_clip_list
from audiosep_training.datasets.exclusion import Exclusion
from audiosep_training.datasets.recordings import (
    AudioFileIndex,
    Recording,
    check_found,
    read_audiocaps,
    read_audioset,
    read_clotho,
    read_vggsound,
    read_wavcaps,
)
from audiosep_training.datasets.voicebank import voicebank_pairs

#: Pairs of clean and noisy speech, which no table names.
VOICEBANK = "voicebank-demand"
_SPEECH = "speech"

#: The paper's training sets that have a table.
DATASETS: dict[str, Callable[[AudioFileIndex, Path], Iterator[Recording]]] = {
    "audioset": read_audioset,
    "vggsound": functools.partial(read_vggsound, split="train"),
    "audiocaps": functools.partial(read_audiocaps, labelled=False),
    "clotho": functools.partial(read_clotho, labelled=False),
    "wavcaps": read_wavcaps,
}


@dataclasses.dataclass(frozen=True)
class Found:
    """What is there of a dataset.

    Attributes:
        items: An item for each caption of its clips.
        missing: How many clips are not there, as videos disappear.
        excluded: How many were left out because they were to be.
    """

    items: list[ListedClip]
    missing: int = 0
    excluded: int = 0


def find_items(
    dataset: str,
    metadata: Path | None,
    audio: Path,
    labels: Path | None,
    videos: Path | None = None,
    exclude: Sequence[Path] = (),
) -> Found:
    """An item for each caption of the clips of a dataset that are there.

    Args:
        dataset: A key of :data:`DATASETS`, or :data:`VOICEBANK`.
        metadata: The dataset's own table; Voicebank-DEMAND needs none.
        audio: Folder with its sound files, searched with all folders in it.
        labels: AudioSet's ``class_labels_indices.csv``; None for the one in the folder.
        videos: Folder with the clips' videos, of the same names or as downloaders name them.
        exclude: Tables of clips to leave out; see
            :class:`audiosep_training.datasets.exclusion.Exclusion`.

    Raises:
        UsageError: The table is not named.
        AudioPathError: The labels are missing, or none of the table's files is there.
        MetadataError: A table has another form; the message names line and field.
    """
    excluded = Exclusion(exclude)
    if dataset == VOICEBANK:
        pairs = voicebank_pairs(audio)
        items = [ListedClip(clean, _SPEECH, mixture=noisy) for clean, noisy in pairs]
        kept = [item for item in items if not excluded.names(item.wav)]
        return Found(kept, excluded=len(items) - len(kept))
    if metadata is None:
        raise UsageError(f"{dataset} is read by its table; give it with --metadata")
    index = AudioFileIndex(audio, labels)
    screen = AudioFileIndex(videos, endings=VIDEO_ENDINGS) if videos is not None else None
    recordings = check_found(index, DATASETS[dataset](index, metadata))
    there = [recording for recording in recordings if not excluded.names(recording.path)]
    items = []
    for recording in there:
        shown = screen.recording(recording.path.name) if screen is not None else None
        video = shown.path if shown is not None else None
        items += [ListedClip(recording.path, caption, video) for caption in recording.captions]
    return Found(items, len(index.missing), len(recordings) - len(there))


@click.command(
    epilog="""\b
Examples:
  audiosep lists audiocaps --metadata train.csv --audio audiocaps/train -o audiocaps.json
  audiosep lists audioset --metadata unbalanced_train_segments.csv
    --labels class_labels_indices.csv --audio audioset -o audioset.json
  audiosep lists vggsound --metadata vggsound.csv --audio vggsound --video vggsound -o vgg.json
  audiosep lists wavcaps --metadata fsd_final.json --audio FreeSound -o freesound.json
    --exclude clotho_metadata_evaluation.csv --exclude audiocaps_eval.csv
  audiosep lists voicebank-demand --audio DS_10283_2791 -o voicebank.json
"""
)
@click.argument("dataset", type=click.Choice([*DATASETS, VOICEBANK]))
@click.option(
    "--metadata",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The dataset's own table (WavCaps: its JSON; voicebank-demand has none).",
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
    "--video",
    "videos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with its videos, to be asked by.",
)
@click.option(
    "--exclude",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="TABLE",
    help="Leave out the clips that a table or a JSON list names, to keep test clips out of "
    "training: a released evaluation table, a corpus' own, or that of 'audiosep evaluate build'; "
    "repeat for more.",
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
    dataset: str,
    metadata: Path | None,
    audio: Path,
    labels: Path | None,
    videos: Path | None,
    exclude: tuple[Path, ...],
    output: Path,
    overwrite: bool,
) -> None:
    """Write a JSON list of the clips of DATASET that are there, for 'audiosep train --list'."""
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; give --overwrite to replace it")
    found = find_items(dataset, metadata, audio, labels, videos, exclude)
    parts = [f"{write_clip_list(output, found.items)} clips"]
    if videos is not None:
        parts.append(f"{sum(item.video is not None for item in found.items)} with video")
    if found.missing:
        parts.append(f"{found.missing} missing")
    if exclude:
        parts.append(f"{found.excluded} excluded")
    click.echo(f"{output}: {', '.join(parts)}")
