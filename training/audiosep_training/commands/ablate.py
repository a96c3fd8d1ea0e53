"""``audiosep ablate``: one training at several shares of text queries, side by side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from audiosep_core.errors import UsageError
from audiosep_core.extras import needed_for
from audiosep_training.config.files import load_config
from audiosep_training.config.schema import ConfigError, TrainingConfig

#: The paper's, of AudioSep with CLAP.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  audiosep ablate audiosep-base --list audiocaps.json --validation validation.json --run runs/share
    --set query.checkpoint=music_speech_audioset_epoch_15_esc_89.98.pt
    --set query.vocabulary=roberta-base
  audiosep ablate clip.toml --list vggsound.json --validation validation.json --run runs/clip
"""
)
@click.argument("config")
@click.option(
    "--run",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the runs, one for each share; those that are there are continued.",
)
@click.option("--list", "lists", multiple=True, type=_FILE, metavar="FILE", help="Train on a list.")
@click.option("--shards", multiple=True, metavar="PLACE", help="Train on shards.")
@click.option(
    "--validation",
    "validation",
    multiple=True,
    required=True,
    type=_FILE,
    metavar="FILE",
    help="List whose clips are asked for in words, to compare.",
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.FloatRange(0, 1),
    default=SHARES,
    show_default=True,
    help="Of queries in words; the others ask by the target's sound (CLAP), or by its video "
    "(CLIP); repeat for more.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the configuration; repeat for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    config: str,
    run: Path,
    lists: tuple[Path, ...],
    shards: tuple[str, ...],
    validation: tuple[Path, ...],
    shares: tuple[float, ...],
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train CONFIG once for each share of queries in words, and compare their SDRi.

    The paper's ablation of the text ratio (with CLAP), or of text and video (with CLIP). All runs
    are validated in words. A run that was stopped goes on when the same command is given again.
    """
    chosen = load_config(config, overrides)
    data = dataclasses.replace(
        chosen.data,
        lists=tuple(map(str, lists)),
        shards=shards,
        validation=tuple(map(str, validation)),
    )
    chosen = dataclasses.replace(chosen, data=data)
    results: list[dict[str, Any]] = []
    for share in shares:
        folder = run / f"text-{share:g}"
        _train(_at_share(chosen, share), folder)
        results.append({"text_share": share, "sdri": _last_sdri(folder), "run": str(folder)})
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    table = Table("text share", "SDRi dB", "run", box=None, pad_edge=False)
    for result in results:
        table.add_row(f"{result['text_share']:g}", f"{result['sdri']:.2f}", result["run"])
    Console(highlight=False).print(table)


def _at_share(config: TrainingConfig, share: float) -> TrainingConfig:
    """The training with so many queries in words, validated at its end."""
    query = config.query
    if query.encoder == "clap":
        query = dataclasses.replace(query, text_ratio=share)
    elif query.encoder == "clip":
        query = dataclasses.replace(query, video_ratio=1 - share)
    else:
        raise ConfigError(
            f"{config.name} is asked by {query.encoder!r}, which knows words alone; take a "
            "training with query.encoder = 'clap' or 'clip'"
        )
    often = min(config.run.validate_every or config.run.steps, config.run.steps)
    return dataclasses.replace(
        config, query=query, run=dataclasses.replace(config.run, validate_every=often)
    )


def _train(config: TrainingConfig, folder: Path) -> None:
    with needed_for("training", "train"):
        from audiosep_training.run.train import train
    stopped_by = train(config, folder)
    if stopped_by is not None:
        raise click.exceptions.Exit(128 + stopped_by)


def _last_sdri(folder: Path) -> float:
    from audiosep_training.run.log import LOG

    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    found = [float(record["sdri"]) for record in map(json.loads, lines) if "sdri" in record]
    if not found:
        raise UsageError(f"{folder} was never validated; give --validation a list with clips")
    return found[-1]
