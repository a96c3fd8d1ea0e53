"""``audiosep bench``: what the promises of speed and quality come to on this machine."""

from __future__ import annotations

import click

from audiosep_core.commands.lazy import LazyGroup


@click.group(cls=LazyGroup, prefix="bench")
def command() -> None:
    """Measure speed and quality on this machine."""
