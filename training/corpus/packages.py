"""The Debian packages that the corpus draws on (the facts: packages.toml)."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGES_FILE = Path(__file__).with_name("packages.toml")


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
    facts = tomllib.loads(_PACKAGES_FILE.read_text(encoding="utf-8"))
    return tuple(Package(name, **facts[name]) for name in sorted(facts))
