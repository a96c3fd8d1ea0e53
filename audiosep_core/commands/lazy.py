"""A group of commands that are imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that knows its commands by name only.

    Args:
        lazy: Name to the module that holds the command as ``command``, and what it does.
        attributes: Passed on to :class:`click.Group`.
    """

    def __init__(self, lazy: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order they were given."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's module.

        Raises:
            ClickException: A package that the command needs is not installed.
        """
        if name not in self._lazy:
            return None
        module, summary = self._lazy[name]
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"'{ctx.command_path} {name}' needs the package {error.name!r}; install audiosep "
                "with the extras 'cpu' and 'export', for example: pip install "
                "'audiosep[cpu,export]'"
            ) from None
        command.short_help = summary
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])
