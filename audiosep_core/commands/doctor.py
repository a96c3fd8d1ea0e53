"""``audiosep doctor``: a report on the installation, with what repairs it."""

from __future__ import annotations

import dataclasses
import json

import click

from audiosep_core.commands.console import model_option
from audiosep_core.commands.installation import examine
from audiosep_core.runtime.health import Finding

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "problem": ("problem", "red")}


@click.command()
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str, as_json: bool) -> None:
    """Examine the installation: versions, CUDA, where the model's nodes run, a self test.

    Ends with code 0 if all is well and 1 if something needs repair.
    """
    findings = []
    for finding in examine(model):
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        click.echo(json.dumps({"healthy": not problems, "findings": listed}, indent=2))
    else:
        click.echo(f"{problems} to repair" if problems else "all is well")
    if problems:
        raise click.exceptions.Exit(1)


def _show(finding: Finding) -> None:
    # click leaves colours out where the output is no terminal.
    mark, colour = _MARKS[finding.level]
    click.echo(f"{click.style(f'{mark:<8}', fg=colour)}{finding.subject:<16}{finding.detail}")
    if finding.remedy:
        click.echo(f"{'':<24}-> {click.style(finding.remedy, bold=True)}")
