"""``audiosep bench``: measurements on the user's own machine."""

from __future__ import annotations

from audiosep_core.commands.lazy import LazyGroup

command = LazyGroup(
    lazy={
        "network": ("export.bench", "The exported network against PyTorch, in one run."),
    },
    help="Measure speed on this machine.",
)
