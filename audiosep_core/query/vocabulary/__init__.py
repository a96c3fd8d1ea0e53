"""Queries that every bundle carries embeddings for.

Imports: nothing.
"""

from __future__ import annotations

from importlib import resources

_LISTS = ("audioset", "esc50", "instruments")


def known_queries() -> list[str]:
    """The labels of AudioSet and ESC-50 and common instruments, each once."""
    distinct: dict[str, str] = {}
    for name in _LISTS:
        for label in read_vocabulary(name):
            distinct.setdefault(label.casefold(), label)
    return list(distinct.values())


def read_vocabulary(name: str) -> list[str]:
    """One list of labels, in its own order: "audioset" (by class index), "esc50", "instruments"."""
    text = (resources.files(__package__) / f"{name}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]
