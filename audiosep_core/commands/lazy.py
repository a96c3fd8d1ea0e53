"""A group of commands whose modules are imported when their command runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

#: Package of a command to the extras that it needs.
_EXTRAS = {"training": "cpu,train"}


class LazyGroup(click.Group):
    """A group that also holds commands by the name of their module.

    Args:
        lazy: Command to the module whose ``command`` it is, and to what it does. Modules of
            other packages are named here, so that nothing has to be imported for it.
    """

    def __init__(
        self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [*super().list_commands(ctx), *self._lazy]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now if need be.

        Raises:
            ClickException: A package that the command needs is not installed.
        """
        if name not in self._lazy:
            return super().get_command(ctx, name)
        module, summary = self._lazy[name]
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            extras = _EXTRAS.get(module.partition(".")[0], "cpu,export")
            raise click.ClickException(
                f"'{ctx.command_path} {name}' needs the package {error.name!r}; install audiosep "
                f"with what it takes: pip install 'audiosep[{extras}]'"
            ) from None
        command.short_help = summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        rows = [(name, command.get_short_help_str()) for name, command in self.commands.items()]
        rows += [(name, summary) for name, (_, summary) in self._lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
