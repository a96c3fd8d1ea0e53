"""Which clips are held out for testing, so that no recording is on both sides.

Instruments are tested on another soundfont and speech on other speakers; the rest is divided by
groups of clips that may be takes of one recording.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

_FEWEST_GROUPS = 3
_ENOUGH = 0.15
_AT_MOST = 0.25
# Endings that tell takes or dynamics of one sound apart.
_VARIANT = re.compile(
    r"[\W_]*\d+[a-z]?\W*$"
    r"|[\W_]+(hardest|hard|medium|med|softest|soft|miss|short|long|small|large|big|huge"
    r"|inside|outside|female|male|[a-d])$"
)


def stable_hash(text: str) -> int:
    """The same 64-bit number for the same text, in every run and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def group_of(package: str, path: str) -> str:
    """Package and file name without what tells takes apart: "gunshot1" and "gunshot2" are one."""
    stem = re.sub(r"\.\w+$", "", path.rsplit("/", 1)[-1]).lower()
    # Some archives number all their sounds in front of the title.
    stem = re.sub(r"^\d+_(?=[a-z])", "", stem)
    while (shorter := _VARIANT.sub("", stem)) != stem:
        stem = shorter
    return f"{package}/{re.sub('[0-9]+', '', stem)}"


def test_groups(label: str, groups: Sequence[str]) -> set[str]:
    """The groups of a class that are held out, given the group of each of its clips.

    About 15 to 25 % of the clips, and at least one group, if there are three groups or more;
    otherwise none.
    """
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    if len(sizes) < _FEWEST_GROUPS:
        return set()
    chosen: set[str] = set()
    held = 0
    for group in _by_hash(label, sizes):
        if held >= _ENOUGH * len(groups):
            break
        if held + sizes[group] <= _AT_MOST * len(groups):
            chosen.add(group)
            held += sizes[group]
    return chosen or {min(_by_hash(label, sizes), key=lambda group: sizes[group])}


def _by_hash(label: str, groups: Iterable[str]) -> list[str]:
    return sorted(groups, key=lambda group: stable_hash(f"{label}/{group}"))
