"""Groups of commands whose modules are imported when their command runs."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import click

from audiosep_core.extras import needed_for

#: Entry points of this group name tables as :func:`registered_commands` returns them. Packages
#: above the core add their commands so; the core knows none of them by name.
ENTRY_POINTS = "audiosep.commands"


@dataclasses.dataclass(frozen=True)
class LazyCommand:
    """Where a command lives.

    Attributes:
        module: Its module, in which it is called ``command``.
        summary: What it does, in one line; shown without importing the module.
        extra: What installs all that the module imports.
    """

    module: str
    summary: str
    extra: str = "cpu"


@functools.cache
def registered_commands() -> dict[str, LazyCommand]:
    """The commands of all installed packages: full name, such as "models fetch", to where it is.

    A table that cannot be loaded is left out with a warning; the other commands go on working.
    """
    commands: dict[str, LazyCommand] = {}
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            commands.update(point.load())
        # Other people's packages may fail in any way.
        except Exception as error:
            click.echo(f"Warning: the commands of {point.value} are missing: {error}", err=True)
    return commands


class LazyGroup(click.Group):
    """A group that also holds commands by the name of their module.

    Args:
        prefix: Full name of the group without "audiosep": what is registered below it by other
            packages belongs to it; empty for the command itself.
        lazy: Further commands by name.
    """

    def __init__(
        self,
        *args: Any,
        prefix: str = "",
        lazy: Mapping[str, LazyCommand] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._prefix = prefix
        self._lazy = dict(lazy or {})

    def _all_lazy(self) -> dict[str, LazyCommand]:
        found = dict(self._lazy)
        for full_name, command in registered_commands().items():
            group, _, name = full_name.rpartition(" ")
            if group == self._prefix:
                found[name] = command
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [*super().list_commands(ctx), *self._all_lazy()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now if need be.

        Raises:
            MissingPackageError: A package that the command needs is not installed.
        """
        lazy = self._all_lazy().get(name)
        if lazy is None:
            return super().get_command(ctx, name)
        with needed_for(f"'{ctx.command_path} {name}'", lazy.extra):
            command: click.Command = importlib.import_module(lazy.module).command
        command.short_help = lazy.summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        rows = [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        rows += [(name, lazy.summary) for name, lazy in self._all_lazy().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
