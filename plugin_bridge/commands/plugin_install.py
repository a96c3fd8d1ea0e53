"""``audiosep plugin install``: the plug-in where hosts look for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  audiosep plugin install
  audiosep plugin install --check
  audiosep plugin install --check --json
"""
)
@click.option("--check", is_flag=True, help="Only load what is installed, and report.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@click.option(
    "--dpf",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of DPF's source, if it is not /usr/share/dpf.",
)
def command(check: bool, as_json: bool, dpf: Path | None) -> None:
    """Build the plug-in and install it as VST3, CLAP and LV2 for this user.

    It goes to ~/.vst3, ~/.clap and ~/.lv2; a file in the user's configuration tells it to start
    this program where no server runs. Building takes a compiler and DPF's source.
    """
    from plugin_bridge.plugin import bundles

    written = [] if check else [str(path) for path in bundles.install(dpf=dpf)]
    report = [
        {"format": bundle.kind, "path": str(bundle.location()), "fault": fault}
        for bundle, fault in bundles.check_bundles()
    ]
    if as_json:
        click.echo(json.dumps({"written": written, "bundles": report}, indent=2))
    else:
        for path in written:
            click.echo(f"wrote {path}")
        for line in report:
            click.echo(f"{line['format']}: {line['fault'] or 'loads'} ({line['path']})")
    if any(line["fault"] for line in report):
        sys.exit(1)
