"""The classes of sounds: what asks for them, and what must not meet (the facts: classes.toml)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from audiosep_training.corpus.facts import read_facts

DOMAINS = ("speech", "instruments", "drums", "sound events", "music")
_CLASSES_FILE = "classes.toml"


@dataclasses.dataclass(frozen=True)
class SoundClass:
    """A class of sounds.

    Attributes:
        name: What it is called.
        domain: One of :data:`DOMAINS`.
        phrases: Queries that a user may type, plainest first.
        loose: Further words for it, less plain: scenes, makers, slang.
        held_out: Paraphrases that no training sees.
        families: Broader queries that it answers, too.
        confusable: Classes that never meet it in a mixture.
    """

    name: str
    domain: str
    phrases: tuple[str, ...]
    loose: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    confusable: frozenset[str] = frozenset()


class ClassBook:
    """The classes of a facts file.

    Args:
        facts: The parsed TOML document; its own comments say what its fields mean.

    Raises:
        ValueError: A class lacks phrases, repeats a name, a phrase stands twice, or a domain,
            family or class is unknown.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        #: Phrases of every family.
        self.families: dict[str, tuple[str, ...]] = {
            entry["name"]: tuple(entry["phrases"]) for entry in facts.get("family", ())
        }
        confusable: dict[str, set[str]] = {entry["name"]: set() for entry in facts["class"]}
        if len(confusable) < len(facts["class"]):
            raise ValueError(f"a class is listed twice: mend {_CLASSES_FILE}")
        for entry in facts["class"]:
            for other in entry.get("confusable", ()):
                if other not in confusable:
                    raise ValueError(
                        f"class {entry['name']!r} is confusable with {other!r}, which is no "
                        f"class: mend {_CLASSES_FILE}"
                    )
                confusable[entry["name"]].add(other)
                confusable[other].add(entry["name"])
        self._classes = {
            entry["name"]: SoundClass(
                entry["name"],
                entry["domain"],
                tuple(entry["phrases"]),
                tuple(entry.get("loose", ())),
                tuple(entry.get("held_out", ())),
                tuple(entry.get("families", ())),
                frozenset(confusable[entry["name"]]),
            )
            for entry in facts["class"]
        }
        self._check()

    def _check(self) -> None:
        owners: dict[str, str] = {}
        for sound in self._classes.values():
            if sound.domain not in DOMAINS:
                raise ValueError(
                    f"class {sound.name!r} has the unknown domain {sound.domain!r}: "
                    f"use one of {', '.join(DOMAINS)}"
                )
            if not sound.phrases:
                raise ValueError(f"class {sound.name!r} has no phrases: mend {_CLASSES_FILE}")
            for family in sound.families:
                if family not in self.families:
                    raise ValueError(
                        f"class {sound.name!r} is of the family {family!r}, which is not listed: "
                        f"mend {_CLASSES_FILE}"
                    )
            for phrase in (*sound.phrases, *sound.loose, *sound.held_out):
                if phrase.lower() in owners:
                    raise ValueError(
                        f"{phrase!r} asks for both {owners[phrase.lower()]!r} and "
                        f"{sound.name!r}: leave it to one of them in {_CLASSES_FILE}"
                    )
                owners[phrase.lower()] = sound.name

    @property
    def classes(self) -> list[SoundClass]:
        """All classes, in the order of the file."""
        return list(self._classes.values())

    def __contains__(self, name: str) -> bool:
        return name in self._classes

    def named(self, name: str) -> SoundClass:
        """The class of that name.

        Raises:
            ValueError: There is none.
        """
        try:
            return self._classes[name]
        except KeyError:
            raise ValueError(
                f"there is no class {name!r} in {_CLASSES_FILE}: "
                "add it there or build the corpus again"
            ) from None


@functools.cache
def load_classes() -> ClassBook:
    """The classes of the packaged classes.toml."""
    return ClassBook(read_facts(_CLASSES_FILE))
