"""Queries that every bundle carries embeddings for."""

from __future__ import annotations

from importlib import resources

_LISTS = ("audioset.txt", "esc50.txt", "instruments.txt")


def known_queries() -> list[str]:
    """The labels of AudioSet and ESC-50 and common instruments, each once."""
    folder = resources.files(__package__)
    lines = [
        line.strip()
        for name in _LISTS
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    distinct: dict[str, str] = {}
    for line in lines:
        if line:
            distinct.setdefault(line.casefold(), line)
    return list(distinct.values())
