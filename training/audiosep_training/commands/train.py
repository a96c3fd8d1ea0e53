"""``audiosep train``: a configuration and sounds in, checkpoints out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from audiosep_core.commands.console import console
from audiosep_core.extras import needed_for
from audiosep_training.config.files import config_names, load_config
from audiosep_training.config.schema import TrainingConfig


def _show_configs(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value:
        return
    for name in config_names():
        config = load_config(name)
        mark = "done" if config.done else "not done"
        click.echo(f"{name:<20} {mark:<10} {config.about}")
        if config.untrained:
            click.echo(f"{'':<31} {config.untrained}")
    ctx.exit()


@click.command(
    epilog="""\b
Examples:
  audiosep train mini --corpus data/corpus --run runs/mini
  audiosep train audiosep-base --list audiocaps.json --run runs/base
    --set query.checkpoint=music_speech_audioset_epoch_15_esc_89.98.pt
    --set query.vocabulary=roberta-base
  torchrun --nproc-per-node 8 --no-python -- audiosep train audiosep-paper
    --shards /data/shards --run runs/paper
"""
)
@click.argument("config")
@click.option(
    "--run",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for checkpoints and logs; a run that is there is continued.",
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Train on a stored corpus.",
)
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Train on a JSON list; repeat for more.",
)
@click.option(
    "--shards",
    multiple=True,
    metavar="PLACE",
    help="Train on a folder of shards, or addresses with braces; repeat for more.",
)
@click.option(
    "--validation",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON list to validate on; a corpus brings its own.",
)
@click.option(
    "--init",
    "initial",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Start from these weights: a checkpoint of ours or a released one.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the configuration, such as run.steps=1000; repeat for more.",
)
@click.option(
    "--configs",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_configs,
    help="List the configurations that ship, and whether each is done.",
)
def command(
    config: str,
    run: Path,
    corpus: Path | None,
    lists: tuple[Path, ...],
    shards: tuple[str, ...],
    validation: tuple[Path, ...],
    initial: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train CONFIG: one that ships (see --configs), or a TOML file.

    The run stops cleanly on SIGTERM or Ctrl-C and goes on when the same command is given again,
    as if it had not stopped (on a CPU to the bit). SIGUSR1 writes a checkpoint.
    """
    chosen = load_config(config, overrides)
    given: dict[str, Any] = {
        "corpus": str(corpus or ""),
        "lists": tuple(map(str, lists)),
        "shards": shards,
        "validation": tuple(map(str, validation)),
    }
    data = dataclasses.replace(
        chosen.data, **{field: value for field, value in given.items() if value}
    )
    _run(dataclasses.replace(chosen, data=data), run, initial)


def _run(config: TrainingConfig, run: Path, initial: Path | None) -> None:
    with needed_for("training", "train"):
        from audiosep_training.run.train import train
    stopped_by = train(config, run, initial)
    if stopped_by is not None:
        console.print(f"stopped; the same command goes on from {run / 'last.ckpt'}")
        raise click.exceptions.Exit(128 + stopped_by)
    last, system = run / "last.ckpt", config.system.name
    use = f"evaluate ... --compare {system}={last}" if system else f"export {last} -o DIR"
    click.echo(f"{last}: ready for 'audiosep {use}'")
