"""What a training says while it runs, once for all its processes."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only

from audiosep_core.commands.console import console


@rank_zero_only
def print_line(text: str) -> None:
    """Print a line to standard error."""
    console.print(text, highlight=False, markup=False)
