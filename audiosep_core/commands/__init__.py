"""The ``audiosep`` command: its subcommands are imported when they are called.

The top of the core: imports every other folder of it, and no package above it. Commands of
other packages come in through the entry points of :mod:`audiosep_core.commands.lazy`.

Imports: audiosep_core, audiosep_core.demo, audiosep_core.files, audiosep_core.model,
audiosep_core.query, audiosep_core.runtime, audiosep_core.separator, audiosep_core.settings,
audiosep_core.signal; click, numpy, packaging, rich.
"""

from __future__ import annotations

import codecs
import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from audiosep_core.commands.lazy import LazyCommand, LazyGroup
from audiosep_core.errors import AudioSepError

_COMMANDS = {
    "separate": LazyCommand("audiosep_core.commands.separate", "Separate files into stems."),
    "demo": LazyCommand(
        "audiosep_core.commands.demo", "Separate a mixture that ships with audiosep."
    ),
    "queries": LazyCommand("audiosep_core.commands.queries", "List, add or pack queries."),
    "models": LazyCommand(
        "audiosep_core.commands.models", "List the installed models, or fetch one."
    ),
    "doctor": LazyCommand(
        "audiosep_core.commands.doctor", "Check the installation, and say what to repair."
    ),
    "bench": LazyCommand("audiosep_core.commands.bench", "Measure speed on this machine."),
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
    _any_name_can_be_printed()
    with _ended_in_good_order():
        try:
            # Without standalone mode click returns the code of an Exit instead of exiting.
            sys.exit(cli.main(prog_name="audiosep", standalone_mode=False))
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except _SignalledError as error:
            click.echo("stopped", err=True)
            sys.exit(128 + error.number)
        except (click.Abort, KeyboardInterrupt):
            click.echo("stopped", err=True)
            sys.exit(130)
        except AudioSepError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)


class _SignalledError(BaseException):
    """The process was told to end: what is half done is put away first."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ended_in_good_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does; commands may have their own way."""

    def end(number: int, frame: object) -> None:
        # A second one, while files are put away, comes too late.
        for name in kept:
            signal.signal(name, signal.SIG_IGN)
        raise _SignalledError(number)

    kept = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Whoever started it may have had it ignored (nohup).
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                kept[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)


def _any_name_can_be_printed() -> None:
    """Print bytes of names as they are, and letters that a terminal lacks by their numbers."""
    codecs.register_error("audiosep_names", _printable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="audiosep_names")


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
