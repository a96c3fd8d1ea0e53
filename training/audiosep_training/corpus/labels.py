"""Which class a file belongs to (the facts: labels.toml)."""

from __future__ import annotations

import functools
import re
from typing import Any

from audiosep_training.corpus.classes import ClassBook, SoundClass, load_classes
from audiosep_training.corpus.facts import read_facts


class LabelBook:
    """The rules of a labels file.

    Args:
        facts: The parsed TOML document; its own comments say how the rules apply.
        classes: The classes that it names.

    Raises:
        ValueError: A class is unknown, or listed twice.
    """

    def __init__(self, facts: dict[str, Any], classes: ClassBook) -> None:
        self._ignore = _compile(facts.get("ignore", ()))
        self._speech_test = _compile(facts.get("speech_test", ()))
        self._speech_source = _compile(facts.get("speech_source", ()))
        self._classes = classes
        self._patterns: dict[str, tuple[re.Pattern[str], ...]] = {}
        for entry in facts["class"]:
            if entry["name"] in self._patterns:
                raise ValueError(f"class {entry['name']!r} is listed twice: mend the labels file")
            self._patterns[classes.named(entry["name"]).name] = _compile(entry["patterns"])

    def named(self, name: str) -> SoundClass:
        """The class of that name.

        Raises:
            ValueError: There is none.
        """
        return self._classes.named(name)

    def classify(self, key: str) -> SoundClass | None:
        """The class of a file by its key "package/path", or None for one to leave out."""
        if any(pattern.search(key) for pattern in self._ignore):
            return None
        for name, patterns in self._patterns.items():
            if any(pattern.search(key) for pattern in patterns):
                return self._classes.named(name)
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
    return LabelBook(read_facts("labels.toml"), load_classes())


def _compile(patterns: Any) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
