"""``audiosep models``: what is installed, and what can be fetched."""

from __future__ import annotations

import json
from typing import Any

import click

from audiosep_core.commands.lazy import LazyGroup
from audiosep_core.model.installed import DEFAULT_MODEL, installed_models, open_model
from audiosep_core.model.streaming_config import StreamingConfig


@click.group(cls=LazyGroup, prefix="models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the models that are installed, each with its rate, size and licence."""
    if ctx.invoked_subcommand is not None:
        return
    rows = []
    for name, folder in installed_models().items():
        bundle = open_model(name)
        size = sum(bundle.path(file).stat().st_size for file in bundle.hashes)
        rows.append(
            {
                "name": name,
                "default": name == DEFAULT_MODEL,
                "sample_rate": getattr(bundle.config, "sample_rate", None),
                "megabytes": round(size / 1e6, 1),
                "licence": bundle.licence,
                "path": str(folder),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        star = "*" if row["default"] else " "
        click.echo(
            f"{star} {row['name']:<16} {_rate(row['sample_rate']):<9}  {row['megabytes']} MB  "
            f"{row['licence']}  {row['path']}"
        )


@command.command("info")
@click.argument("name", default=DEFAULT_MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print description and report as JSON.")
def info(name: str, as_json: bool) -> None:
    """Describe a bundle: what it is, and the evidence that it computes what it should."""
    bundle = open_model(name)
    report = bundle.report()
    if as_json:
        click.echo(json.dumps({**bundle.describe(), "report": report}, indent=2))
        return
    config = bundle.config
    if isinstance(config, StreamingConfig):
        network = (
            f"streaming, {config.frame_rate} frames a second, look-ahead {config.look_ahead} "
            f"frames, steps of {config.step_frames}"
        )
    else:
        network = f"n_fft {config.n_fft}, hop_length {config.hop_length}"
    rows = {
        "model": f"{bundle.name}, {_rate(getattr(config, 'sample_rate', None))}, "
        f"in {bundle.folder}",
        "network": f"{network}, widths {' '.join(map(str, config.widths))}, condition "
        f"{config.condition_size}",
        "licence": bundle.licence,
        "provenance": bundle.provenance,
        "files": ", ".join(bundle.hashes),
    }
    for graph in ("separator", "waveform"):
        if graph in report:
            rows[graph] = _evidence(report[graph])
    if "int8" in report:
        lost = report["int8"]
        rows["int8"] = (
            f"loses {lost['sdr_loss_db']:.2f} dB of SDR in the mean of {len(lost['cases'])} "
            f"mixtures, {lost['times_as_fast_as_float32']:.2f} times as fast as float32 where it "
            "was exported"
        )
    if "separator" not in report:
        rows["separator"] = "no report on its fidelity; export the bundle again for one"
    for title, text in rows.items():
        click.echo(f"{title:<11} {text}")


def _evidence(evidence: dict[str, Any]) -> str:
    """One graph's part of a report, in a line."""
    speed = evidence["real_time_factor"]
    shares = []
    for provider, placement in evidence.get("placements", {}).items():
        nodes = {ran: sum(operators.values()) for ran, operators in placement.items()}
        share = f"{nodes.get(provider, 0)} of {sum(nodes.values())} nodes"
        shares.append(f"{provider} runs {share}")
    return (
        f"{evidence['bytes'] / 1e6:.1f} MB, opset {evidence['opset']}, IR version "
        f"{evidence['ir_version']}; at most {evidence['worst_max_abs_error']:.1e} and at least "
        f"{evidence['worst_sdr_db']:.0f} dB from PyTorch in {len(evidence['cases'])} cases; "
        f"real-time factor {speed['best']:.3f} where it was exported; " + ", ".join(shares)
    )


def _rate(sample_rate: object) -> str:
    return "any rate" if sample_rate is None else f"{sample_rate} Hz"
