"""What the commands share: options, messages on the error stream, progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from audiosep_core.model.installed import DEFAULT_MODEL

#: Messages go to standard error, so that standard output can be piped; colours on a terminal.
console = Console(stderr=True, soft_wrap=True)

model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME_OR_PATH",
    help="Name of an installed model, or path of a bundle.",
)
device_option: Callable[[Any], Any] = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network runs.",
)


class FileProgress:
    """A bar over all files where there are several, and one for the file at hand."""

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress = progress
        self._files = files
        self._ended = 0
        self._all = progress.add_task(self._place(), total=files, visible=files > 1)

    def advance(self) -> None:
        """Count a file that has ended."""
        self._ended += 1
        self._progress.update(self._all, description=self._place(), completed=self._ended)

    def _place(self) -> str:
        return f"{self._ended}/{self._files} files"

    @contextmanager
    def file(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a file until it is done; call what this yields with (done, total)."""
        task = self._progress.add_task(name, total=None)

        def update(done: int, total: int) -> None:
            self._progress.update(task, completed=done, total=total)

        try:
            yield update
        finally:
            self._progress.remove_task(task)


@contextmanager
def file_progress(files: int) -> Iterator[FileProgress]:
    """Progress bars on a terminal, nothing elsewhere."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        yield FileProgress(progress, files)
