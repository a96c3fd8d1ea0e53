"""Draws pairs of sounds of different classes from a corpus, for training and for evaluation."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from audiosep_training.corpus.store import Clip, Corpus
from audiosep_training.data.mixing import mix

#: How often a domain is drawn. Classes within a domain weigh the root of their clip count.
DOMAIN_WEIGHTS = {
    "speech": 0.23,
    "instruments": 0.27,
    "drums": 0.17,
    "sound events": 0.28,
    "music": 0.05,
}
_LOUD_ENOUGH = 3e-3
_MOST_TRIES = 1000
_TESTED_PHRASES = 8


@dataclasses.dataclass(frozen=True)
class Source:
    """A segment of one sound: ``audio`` (samples,) float32, its class and its domain."""

    audio: NDArray[np.float32]
    label: str
    domain: str


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Two sources mixed: ``mixture == sources[0].audio + sources[1].audio``."""

    mixture: NDArray[np.float32]
    sources: tuple[Source, Source]


class PairSampler:
    """Draws segments and mixtures from one split of a corpus.

    Args:
        corpus: Where the sounds are.
        split: Which clips: "train", "validation" or "test".
        samples: Length of a segment at the corpus' rate.
        weights: Domain to how often it is drawn; domains without clips are left out.

    Raises:
        ValueError: The split holds fewer than two classes.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        samples: int,
        weights: dict[str, float] = DOMAIN_WEIGHTS,
    ) -> None:
        self.corpus = corpus
        self.samples = samples
        self._clips: dict[str, list[Clip]] = defaultdict(list)
        by_domain: dict[str, list[str]] = defaultdict(list)
        for clip in corpus.clips:
            if clip.split == split:
                self._clips[clip.label].append(clip)
        for label in self._clips:
            by_domain[corpus.domain(label)].append(label)
        if len(self._clips) < 2:
            raise ValueError(
                f"the {split} split needs at least two classes, found {len(self._clips)}"
            )
        self._labels: list[str] = []
        probabilities: list[float] = []
        for domain, weight in weights.items():
            roots = {label: len(self._clips[label]) ** 0.5 for label in by_domain[domain]}
            for label, root in roots.items():
                self._labels.append(label)
                probabilities.append(weight * root / sum(roots.values()))
        self._probabilities = np.asarray(probabilities) / sum(probabilities)

    def source(self, rng: np.random.Generator, other_than: frozenset[str] = frozenset()) -> Source:
        """A segment that is not silent, of none of the classes ``other_than``.

        Raises:
            ValueError: The split holds next to nothing else than silence.
        """
        for _ in range(_MOST_TRIES):
            label = self._labels[rng.choice(len(self._labels), p=self._probabilities)]
            if label in other_than:
                continue
            clips = self._clips[label]
            audio = self._segment(clips[rng.integers(len(clips))], rng)
            if float(np.sqrt(np.mean(audio**2))) > _LOUD_ENOUGH:
                return Source(audio, label, self.corpus.domain(label))
        raise ValueError(
            f"{_MOST_TRIES} segments in a row were silent or of the classes "
            f"{', '.join(sorted(other_than)) or 'none'}; "
            "the corpus needs more sound in more classes"
        )

    def mixture(
        self, rng: np.random.Generator, gain_db: float | None = None, apart: bool = False
    ) -> Mixture:
        """Two sources of different classes; the gain is −10…10 dB unless given.

        Args:
            rng: What is drawn from.
            gain_db: Of the second source over the first.
            apart: Whether confusable classes count as one.
        """
        first = self.source(rng)
        alike = self.corpus.named(first.label).confusable if apart else frozenset()
        second = self.source(rng, other_than=alike | {first.label})
        if gain_db is None:
            gain_db = float(rng.integers(-10, 11))
        mixture, target, background = mix(first.audio, second.audio, gain_db)
        sources = (
            dataclasses.replace(first, audio=target),
            dataclasses.replace(second, audio=background),
        )
        return Mixture(mixture, sources)

    def _segment(self, clip: Clip, rng: np.random.Generator) -> NDArray[np.float32]:
        surplus = clip.samples - self.samples
        if surplus >= 0:
            start = int(rng.integers(surplus + 1))
            return self.corpus.audio(clip, start, self.samples)
        segment = np.zeros(self.samples, np.float32)
        start = int(rng.integers(-surplus + 1))
        segment[start : start + clip.samples] = self.corpus.audio(clip)
        return segment


def held_out(
    corpus: Corpus, count: int, samples: int, seed: int = 0, split: str = "test"
) -> Iterator[tuple[Mixture, str]]:
    """The evaluation set: 0 dB mixtures of held-out clips, each with a query for its first source.

    The four domains are drawn equally often; the same arguments give the same mixtures.

    Yields:
        The mixture and the query: a phrase for ``mixture.sources[0]``.
    """
    equal = {domain: 1.0 for domain in DOMAIN_WEIGHTS if domain != "music"}
    sampler = PairSampler(corpus, split, samples, equal)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        # The test set was drawn before classes were known to be confusable.
        mixture = sampler.mixture(rng, gain_db=0.0, apart=split != "test")
        # So many each class had when the set was first drawn: it stays the same set.
        phrases = corpus.phrases(mixture.sources[0].label)[:_TESTED_PHRASES]
        yield mixture, phrases[rng.integers(len(phrases))]
