"""Reads the data files that stand beside this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiosep_training import toml


def read_facts(name: str) -> dict[str, Any]:
    """The contents of a TOML file of this package."""
    return toml.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
