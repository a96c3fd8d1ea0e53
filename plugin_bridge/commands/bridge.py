"""``audiosep bridge``: for authors of servers and clients of the bridge."""

from __future__ import annotations

import click

from audiosep_core.commands.lazy import LazyGroup


@click.group(cls=LazyGroup, prefix="bridge")
def command() -> None:
    """For authors of other servers and clients of the bridge."""
