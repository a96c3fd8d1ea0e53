"""Recordings of other sources: a folder with a ``manifest.csv``, for training and validation.

Of the columns, ``file`` and ``class`` are needed; ``caption``, ``domain``, ``speaker``,
``tagger_agrees``, ``licence``, ``source`` and ``original`` are used where they are there. Whole
speakers, instrument libraries and groups of recordings are kept for validation, never a clip whose
like is trained on (the facts: sources.toml).
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path

from audiosep_training.corpus.classes import DOMAINS, load_classes
from audiosep_training.corpus.facts import read_facts
from audiosep_training.corpus.split import group_of, stable_hash

MANIFEST = "manifest.csv"
#: Of 100 groups that chance divides, so many are for validation.
_VALIDATION_PERCENT = 13
_DOUBTED = 0.5
_SOURCE_CHARACTERS = 20
_OWN_LICENCE = "not stated"


@dataclasses.dataclass(frozen=True)
class AddedFile:
    """A file of a manifest, as :class:`audiosep_training.corpus.store.Clip` describes it."""

    file: Path
    path: str
    label: str
    domain: str
    split: str
    source: str
    licence: str
    caption: str
    weight: float
    bandwidth: float
    together: str


def read_manifest(path: Path) -> list[AddedFile]:
    """The files of a manifest, divided into training and validation.

    A class that would have no file to train on is for training alone.

    Args:
        path: ``manifest.csv``, or the folder that it lies in.

    Raises:
        ValueError: The manifest is missing, lacks a column, or names a file that is not there,
            no class, or an unknown domain; the message names the line.
    """
    path = path / MANIFEST if path.is_dir() else path
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in ("file", "class") if name not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path} lacks the column {missing[0]!r}: the first line of a manifest names "
                    "its columns, 'file' and 'class' at least"
                )
            files = [_read(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    trained = {added.label for added in files if added.split == "train"}
    return [
        added if added.label in trained else dataclasses.replace(added, split="train")
        for added in files
    ]


def _read(path: Path, line: int, row: dict[str, str | None]) -> AddedFile:
    values = {name: text or "" for name, text in row.items() if name is not None}
    facts, name = _facts(), values["file"]
    source = values.get("source") or path.parent.name
    key = f"{source} {name}"
    if not name or not (path.parent / name).is_file():
        raise ValueError(f"{path} line {line}: {path.parent / name} is no file; correct the line")
    label = facts.renamed(key) or values["class"].strip()
    if not label:
        raise ValueError(f"{path} line {line} names no class; add one")
    if label in load_classes():
        domain = load_classes().named(label).domain
    else:
        domain = values.get("domain") or "sound events"
        if domain not in DOMAINS:
            raise ValueError(
                f"{path} line {line}: the domain {domain!r} is none of {', '.join(DOMAINS)}"
            )
    doubted = values.get("tagger_agrees") == "no" and domain == "sound events"
    original = values.get("original") or name
    return AddedFile(
        file=path.parent / name,
        path=name,
        label=label,
        domain=domain,
        split=facts.split(key, _group(key, source, domain, label, original, values)),
        source=source,
        licence=values.get("licence") or _OWN_LICENCE,
        caption=values.get("caption", ""),
        weight=_DOUBTED if doubted else 1.0,
        bandwidth=facts.bandwidth(key),
        together=_found(facts.together, key, "together"),
    )


def _group(
    key: str, source: str, domain: str, label: str, original: str, values: dict[str, str]
) -> str:
    """What must not be on both sides of the split: a speaker, a library, takes of one sound."""
    facts = _facts()
    # The start of it: notes on versions and folders at its end tell no sources apart.
    origin = source[:_SOURCE_CHARACTERS]
    recording = _found(facts.recording, key, "recording")
    if recording:
        return origin + recording
    if any(pattern.search(key) for pattern in facts.single_recordings):
        return origin + Path(values["file"]).stem
    if domain == "speech":
        return origin + values.get("speaker", "")
    if domain == "instruments" and not any(each.search(key) for each in facts.collections):
        return origin
    return f"{origin}{label}/{group_of(origin, original)}"


class _Facts:
    def __init__(self) -> None:
        values = read_facts("sources.toml")
        self._validation = _compiled(values["validation"])
        self._train = _compiled(values["train"])
        self.single_recordings = _compiled(values["single_recordings"])
        self.collections = _compiled(values["collections"])
        self.recording = _compiled(values["recording"])
        self.together = _compiled(values["together"])
        self._classes = {name: _compiled(each) for name, each in values["classes"].items()}
        self._bandwidth = {float(hz): _compiled(each) for hz, each in values["bandwidth"].items()}

    def split(self, key: str, group: str) -> str:
        if any(pattern.search(key) for pattern in self._validation):
            return "validation"
        if any(pattern.search(key) for pattern in self._train):
            return "train"
        return "validation" if stable_hash(group) % 100 < _VALIDATION_PERCENT else "train"

    def renamed(self, key: str) -> str:
        return next(
            (
                name
                for name, patterns in self._classes.items()
                if any(pattern.search(key) for pattern in patterns)
            ),
            "",
        )

    def bandwidth(self, key: str) -> float:
        return next(
            (
                hz
                for hz, patterns in self._bandwidth.items()
                if any(pattern.search(key) for pattern in patterns)
            ),
            0.0,
        )


@functools.cache
def _facts() -> _Facts:
    return _Facts()


def _found(patterns: Sequence[re.Pattern[str]], key: str, group: str) -> str:
    found = next((match for pattern in patterns if (match := pattern.search(key))), None)
    return found[group] if found else ""


def _compiled(patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in patterns)
