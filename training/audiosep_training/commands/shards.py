"""``audiosep shards``: JSON lists in, WebDataset shards out."""

from __future__ import annotations

from pathlib import Path

import click

from audiosep_core.commands.console import console, file_progress
from audiosep_training.data.clips import ClipFormat
from audiosep_training.data.lists import read_clip_list
from audiosep_training.data.shards import Packing, write_shards


@click.command(
    epilog="""\b
Example:
  audiosep shards wavcaps.json audiocaps.json -o shards --clips 1000
"""
)
@click.argument("lists", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the shards.",
)
@click.option(
    "--clips",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Clips in a shard. Have at least as many shards as workers on all devices.",
)
@click.option(
    "--shortest",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Leave shorter clips out.",
)
@click.option(
    "--longest",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Of longer clips pack a random piece of this length; 0 packs all clips whole.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=224,
    show_default=True,
    metavar="PIXELS",
    help="Size of the pictures, one a second, that are packed of a clip's video.",
)
def command(
    lists: tuple[Path, ...],
    output: Path,
    clips: int,
    shortest: float,
    longest: float,
    frames: int,
) -> None:
    """Pack the clips of LISTS into shards, for 'audiosep train --shards'.

    An interrupted run goes on where it stopped when it is started again.
    """
    items = [item for path in lists for item in read_clip_list(path).items]
    left_out = 0
    # Only the length of a clip matters here, in units of a millisecond.
    format = ClipFormat(1000, 0, round(1000 * shortest))
    with file_progress(1) as progress, progress.file(str(output)) as update:
        for done, bad in write_shards(items, output, Packing(clips, longest, frames), format):
            update(done, len(items))
            left_out += len(bad)
            for sentence in bad:
                console.print(f"[yellow]left out:[/yellow] {sentence}", highlight=False)
    shards = -(-len(items) // clips)
    click.echo(f"{output}: {len(items)} clips in {shards} shards, {left_out} left out just now")
