"""``audiosep export``: a checkpoint in, a verified bundle out."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import click

from audiosep_core.commands.console import console
from audiosep_core.errors import UsageError
from audiosep_core.model.bundle import REPORT
from audiosep_core.model.checkpoint import load_network
from audiosep_core.model.config import CONFIGS, NetworkConfig, SeparatorConfig
from audiosep_core.model.installed import DEFAULT_MODEL, open_model, packaged_text_encoder
from audiosep_export.bundle_writer import write_bundle
from audiosep_export.text.source import text_encoder_folder
from audiosep_export.towers.source import tower_folder


@click.command(
    epilog="""\b
Examples:
  audiosep export run/last.ckpt -o my-model
  audiosep export audiosep_base_4M_steps.ckpt -o audiosep-base --waveform 10 \\
      --text-encoder audiosep_base_4M_steps.ckpt --audio-encoder audiosep_base_4M_steps.ckpt
"""
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Folder to make.",
)
@click.option(
    "--config",
    type=click.Choice(sorted(CONFIGS)),
    help="The network's shape, where the checkpoint does not tell it.  [default: audiosep-base]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="fp16 halves the file and is for GPUs; int8 is for CPUs, and refused if it loses "
    "0.2 dB of SDR.",
)
@click.option(
    "--sounds",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Sound files, each named by its query, to calibrate and judge int8 on.  [default: the "
    "demo's]",
)
@click.option(
    "--text-encoder",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Folder with text_encoder.onnx and tokenizer.json, or a checkpoint that holds CLAP's "
    "text branch or OpenAI's CLIP, beside its vocab.json and merges.txt.  [default: the packaged "
    "model's, where its embeddings fit]",
)
@click.option(
    "--audio-encoder",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="CHECKPOINT",
    help="Checkpoint with CLAP's audio branch, laion-clap's or the released AudioSep's, for "
    "queries by sound.",
)
@click.option(
    "--image-encoder",
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Checkpoint of CLIP, or a folder as transformers saves it, for queries by video.",
)
@click.option(
    "--waveform",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Also write waveform.onnx: mono waveform in, waveform out, of this fixed length.",
)
@click.option("--licence", default="unknown", show_default=True, help="Of the weights, as SPDX.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    checkpoint: Path,
    output: Path,
    config: str | None,
    precision: str,
    sounds: Path | None,
    text_encoder: Path | None,
    audio_encoder: Path | None,
    image_encoder: Path | None,
    waveform: float | None,
    licence: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Turn CHECKPOINT into a bundle that every command takes as --model.

    The bundle appears only if its graphs give the waveforms that PyTorch gives; the evidence
    is in its report.json.
    """
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; give --overwrite to replace it")
    net = load_network(checkpoint, config)
    if text_encoder is None:
        text_encoder = _default_text_encoder(net.config)
    if text_encoder is None:
        console.print(
            f"[yellow]no text encoder:[/yellow] the packaged one does not fit a condition of "
            f"{net.config.condition_size} values; the bundle will not understand words unless "
            "--text-encoder names one",
            highlight=False,
        )
    samples = None if waveform is None else _waveform_samples(net.config, waveform)
    with console.status("exporting and verifying"), ExitStack() as stack:
        if text_encoder is not None:
            text_encoder = stack.enter_context(text_encoder_folder(text_encoder))
        towers = stack.enter_context(tower_folder(audio_encoder, image_encoder))
        bundle = write_bundle(
            net,
            text_encoder,
            output,
            licence=licence,
            provenance=f"Exported from {checkpoint.name}.",
            precision=precision,  # type: ignore[arg-type]
            waveform_samples=samples,
            sounds=sounds,
            towers=towers,
        )
    report = json.loads(bundle.path(REPORT).read_text(encoding="utf-8"))
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    evidence = report["separator"]
    click.echo(
        f"{output}: {evidence['bytes'] / 1e6:.1f} MB, at most "
        f"{evidence['worst_max_abs_error']:.1e} from PyTorch, "
        f"{1 / evidence['real_time_factor']['best']:.1f} times real time here"
    )


def _waveform_samples(config: NetworkConfig, seconds: float) -> int:
    if not isinstance(config, SeparatorConfig):
        raise UsageError(
            "--waveform is for networks that see windows; a streaming one takes sound of any length"
        )
    samples = round(seconds * config.sample_rate)
    if samples <= config.n_fft // 2:
        least = config.n_fft / 2 / config.sample_rate
        raise UsageError(f"--waveform must be longer than {least:g} seconds for this network")
    return samples


def _default_text_encoder(config: NetworkConfig) -> Path | None:
    """The packaged one, if its embeddings are what the network takes."""
    fits = config.condition_size == open_model(DEFAULT_MODEL).config.condition_size
    return packaged_text_encoder() if fits else None
