"""``audiosep plugin``: the native plug-in."""

from __future__ import annotations

import click

from audiosep_core.commands.lazy import LazyGroup


@click.group(cls=LazyGroup, prefix="plugin")
def command() -> None:
    """The VST3, CLAP and LV2 plug-in for hosts on this machine."""
