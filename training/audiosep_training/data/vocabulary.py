"""The embeddings of all queries that a corpus is trained with."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from audiosep_core.query.encoder import bundled_text_encoder
from audiosep_training.corpus.classes import load_classes
from audiosep_training.corpus.store import Corpus
from audiosep_training.mixer.vocabulary import Phrasings, Vocabulary

#: The plain phrase is asked half the time.
_TEMPLATES = ("{}", "{}", "{}", "the sound of {}", "{} sound", "{} in the background")
#: Loose words come as they are, together in about a third of the queries.
_LOOSE = ("{}", "{}", "{}")


def make_vocabulary(corpus: Corpus) -> Vocabulary:
    """Encode the phrases of a corpus' classes and of their families, with the shipped encoder.

    Held-out paraphrases are left out: no training sees them.
    """
    sounds = [corpus.named(label) for label in corpus.classes()]
    labels = [sound.name for sound in sounds]
    families = load_classes().families
    groups = list(families)
    number = {name: index for index, name in enumerate(labels)}
    conflict = np.eye(len(labels), dtype=bool)
    family = np.zeros((len(labels), len(groups)), bool)
    for index, sound in enumerate(sounds):
        for other in sound.confusable & set(number):
            conflict[index, number[other]] = True
        for group in sound.families:
            family[index, groups.index(group)] = True
    return Vocabulary(
        labels,
        _phrasings([(sound.phrases, sound.loose) for sound in sounds]),
        _phrasings([(families[group], ()) for group in groups]),
        conflict,
        family,
    )


def _phrasings(things: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Phrasings:
    """Of things with plain phrases and loose ones."""
    rows: list[int] = []
    ranges: list[tuple[int, int]] = []
    found: dict[str, int] = {}
    for plain, loose in things:
        start = len(rows)
        for own, templates in ((plain, _TEMPLATES), (loose, _LOOSE)):
            for phrase in map(_tidy, own):
                for template in templates:
                    # "The sound of rain sound" is nobody's query.
                    text = phrase if "sound" in phrase else template.format(phrase)
                    rows.append(found.setdefault(text, len(found)))
        ranges.append((start, len(rows)))
    embeddings = bundled_text_encoder().encode(list(found)).astype(np.float16)
    return Phrasings(embeddings, np.array(rows, np.int32), np.array(ranges, np.int32))


def _tidy(phrase: str) -> str:
    """Lower case, and without punctuation, which would change its embedding."""
    return re.sub(r"\s+", " ", re.sub(r"[^\w\s'-]", " ", phrase.lower())).strip()
