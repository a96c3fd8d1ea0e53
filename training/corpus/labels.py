"""Which class a file belongs to, and which queries ask for a class (the facts: labels.toml)."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from training.corpus.facts import read_facts

DOMAINS = ("speech", "instruments", "drums", "sound events", "music")
_LABELS_FILE = "labels.toml"


@dataclasses.dataclass(frozen=True)
class SoundClass:
    """A class of sounds: its name, domain, queries (plainest first) and file patterns."""

    name: str
    domain: str
    phrases: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]


class LabelBook:
    """The rules of a labels file.

    Args:
        facts: The parsed TOML document; its own comments say how the rules apply.

    Raises:
        ValueError: A class lacks queries, repeats a name or names an unknown domain.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self._ignore = _compile(facts.get("ignore", ()))
        self._speech_test = _compile(facts.get("speech_test", ()))
        self._speech_source = _compile(facts.get("speech_source", ()))
        self._classes: dict[str, SoundClass] = {}
        for entry in facts["class"]:
            sound = SoundClass(
                entry["name"], entry["domain"], tuple(entry["phrases"]), _compile(entry["patterns"])
            )
            if sound.domain not in DOMAINS:
                raise ValueError(
                    f"class {sound.name!r} has the unknown domain {sound.domain!r}: "
                    f"use one of {', '.join(DOMAINS)}"
                )
            if sound.name in self._classes or not sound.phrases:
                raise ValueError(
                    f"class {sound.name!r} is listed twice or has no phrases: mend the labels file"
                )
            self._classes[sound.name] = sound

    @property
    def classes(self) -> list[SoundClass]:
        """All classes in the order in which they are tried."""
        return list(self._classes.values())

    def named(self, name: str) -> SoundClass:
        """The class of that name.

        Raises:
            ValueError: There is none.
        """
        try:
            return self._classes[name]
        except KeyError:
            raise ValueError(
                f"there is no class {name!r} in {_LABELS_FILE}: "
                "add it there or build the corpus again"
            ) from None

    def classify(self, key: str) -> SoundClass | None:
        """The class of a file by its key "package/path", or None for one to leave out."""
        if any(pattern.search(key) for pattern in self._ignore):
            return None
        for sound in self._classes.values():
            if any(pattern.search(key) for pattern in sound.patterns):
                return sound
        return None

    def is_test_speech(self, key: str) -> bool:
        """Whether a speech file comes from a source that is held out."""
        return any(pattern.search(key) for pattern in self._speech_test)

    def speech_source(self, key: str) -> str:
        """Package and, where it holds several, language of a speech file: stands for a speaker."""
        for pattern in self._speech_source:
            match = pattern.search(key)
            if match:
                return f"{match['package']}/{match['language']}"
        return key.split("/", 1)[0]


@functools.cache
def load_labels() -> LabelBook:
    """The rules of the packaged labels.toml."""
    return LabelBook(read_facts(_LABELS_FILE))


def _compile(patterns: Any) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
