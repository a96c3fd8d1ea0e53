"""``audiosep models``: what is installed, and what can be fetched."""

from __future__ import annotations

import json

import click

from audiosep_core.commands.lazy import LazyGroup
from audiosep_core.models import DEFAULT_MODEL, installed_models, open_model

_ELSEWHERE = {"fetch": ("export.fetch", "Download a released model and convert it.")}


@click.group(cls=LazyGroup, lazy=_ELSEWHERE, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the models that are installed, each with its rate, size and licence."""
    if ctx.invoked_subcommand is not None:
        return
    rows = []
    for name, folder in installed_models().items():
        bundle = open_model(name)
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        rows.append(
            {
                "name": name,
                "default": name == DEFAULT_MODEL,
                "sample_rate": bundle.config.sample_rate,
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
            f"{star} {row['name']:<16} {row['sample_rate']} Hz  {row['megabytes']} MB  "
            f"{row['licence']}  {row['path']}"
        )


@command.command("info")
@click.argument("name", default=DEFAULT_MODEL)
def info(name: str) -> None:
    """Print a bundle's description as JSON."""
    click.echo(json.dumps(open_model(name).describe(), indent=2))
