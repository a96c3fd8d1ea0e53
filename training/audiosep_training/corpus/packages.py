"""The Debian packages that the corpus draws on (the facts: packages.toml)."""

from __future__ import annotations

import dataclasses
import functools

from audiosep_training.corpus.facts import read_facts


@dataclasses.dataclass(frozen=True)
class Package:
    """A Debian package: name, licence of its sounds, what it holds, and its kind.

    ``kind`` is "sounds", "soundfont" (played for training) or "held-out soundfont" (for testing).
    """

    name: str
    licence: str
    holds: str
    kind: str = "sounds"


@functools.cache
def load_packages() -> tuple[Package, ...]:
    """All packages of packages.toml, by name."""
    facts = read_facts("packages.toml")
    return tuple(Package(name, **facts[name]) for name in sorted(facts))
