"""The ``audiosep`` command: its subcommands are imported when they are called."""

from __future__ import annotations

import sys

import click

from audiosep_core.commands.lazy import LazyGroup
from audiosep_core.errors import AudioSepError

#: Name to where the command lives and what it does; modules load when their command runs.
_COMMANDS = {
    "separate": ("audiosep_core.commands.separate", "Separate files into stems."),
    "demo": ("audiosep_core.commands.demo", "Separate a mixture that ships with audiosep."),
    "queries": ("audiosep_core.commands.queries", "List, add or pack queries."),
    "models": ("audiosep_core.commands.models", "List the installed models, or fetch one."),
    "doctor": ("audiosep_core.commands.doctor", "Check the installation, and say what to repair."),
    "export": ("export.commands", "Turn a checkpoint into a bundle."),
    "train": ("training.commands", "Train a separator."),
    "lists": ("training.list_commands", "List the clips of a dataset for training."),
    "shards": ("training.shard_commands", "Pack listed clips into shards for training."),
    "evaluate": ("training.evaluation.commands", "Measure separation on benchmarks."),
    "serve": ("plugin_bridge.commands", "Run the bridge for plug-in front-ends."),
    "bench": ("audiosep_core.commands.bench", "Measure speed on this machine."),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="audiosep")
def cli() -> None:
    """Separate any sound you can describe.

    \b
    Examples:
      audiosep demo
      audiosep separate song.wav -q "a person singing" -q "drums" -o stems
    """  # noqa: D301


def main() -> None:
    """Run the command; a user's mistake ends in one sentence, not in a traceback."""
    try:
        # Without standalone mode click returns the code of an Exit instead of exiting.
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except AudioSepError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
