"""``audiosep narrow``: a trained streaming network in, a narrower one to train on out."""

from __future__ import annotations

from pathlib import Path

import click

from audiosep_core.commands.console import console, file_progress
from audiosep_core.errors import UsageError
from audiosep_core.extras import needed_for
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_training.config.files import load_config


@click.command(
    epilog="""\b
Examples:
  audiosep narrow live wide.ckpt --corpus data/corpus -o narrow.ckpt
  audiosep train live --init narrow.ckpt --corpus data/corpus --run runs/live
"""
)
@click.argument("config")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--corpus",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The sounds on which channels are weighed.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Gets the narrow network's weights.",
)
@click.option(
    "--batches",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of the training, to weigh channels on.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the configuration, such as network.widths=[16,32,64,96]; repeat for "
    "more.",
)
def command(
    config: str,
    checkpoint: Path,
    corpus: Path,
    output: Path,
    batches: int,
    overrides: tuple[str, ...],
) -> None:
    """Narrow the network of CHECKPOINT to the widths of CONFIG.

    The channels that the loss depends on most are kept. The result is to be trained on; it starts
    far closer to the wide network than to fresh weights.
    """
    chosen = load_config(config, (*overrides, f"data.corpus={corpus}"))
    if not isinstance(chosen.network, StreamingConfig):
        raise UsageError(f"{chosen.name} is no streaming network, which alone can be narrowed")
    with needed_for("narrowing", "train"):
        from audiosep_core.model.checkpoint import load_network
        from audiosep_training.run import narrowing
    wide = load_network(checkpoint)
    if not isinstance(wide.config, StreamingConfig):
        raise UsageError(f"{checkpoint} holds no streaming network, which alone can be narrowed")
    narrowing.check(wide.config, chosen.network)
    with file_progress(1) as progress, progress.file(checkpoint.name) as update:
        weighed = narrowing.importance(
            wide, narrowing.batches(chosen, batches, update), chosen.seed
        )
    narrowing.save(narrowing.narrowed(wide, chosen.network, weighed), output)
    console.print(f"start from it with 'audiosep train {config} --init {output}'")
