"""Batches of mixtures with their queries and targets."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from audiosep_training.mixer.augmenting import Augmenter, low_pass
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.drawing import Drawer
from audiosep_training.mixer.mixing import mix_batch
from audiosep_training.mixer.querying import ABSENT, DrawnQueries, Inquirer
from audiosep_training.mixer.sounds import SAMPLE_RATE, SoundBank
from audiosep_training.mixer.vocabulary import Vocabulary

#: Root mean square under which a segment counts as silent.
_SILENT = 2e-4
#: Of mixtures with a narrow-band source so many lose their highs altogether.
_ALL_NARROW = 0.5


@dataclasses.dataclass
class MixedBatch:
    """Examples; each mixture is there twice, asked for its first source and for its second.

    Attributes:
        mixture: (examples, samples) float32.
        target: (examples, samples) float32: what of the mixture the query means; zeros if absent.
        bandwidth: (examples,) in Hz: up to where the recordings of the mixture tell the truth;
            infinite where they do all the way.
        queries: What is asked.
        labels: (examples, sources) classes of the sources.
        inside: (examples, sources) bool: which of them are in the mixture.
    """

    mixture: Tensor
    target: Tensor
    bandwidth: Tensor
    queries: DrawnQueries
    labels: Tensor
    inside: Tensor


class Mixer:
    """Makes batches on the device where the sounds are.

    Args:
        bank: The sounds.
        vocabulary: The queries of their classes.
        samples: Length of an example, at :data:`SAMPLE_RATE`.
        seed: Of the run.
        process: Number of the process, where several train together.

    Raises:
        ValueError: The vocabulary lacks a class of the bank, or there are fewer than two classes.
    """

    def __init__(
        self, bank: SoundBank, vocabulary: Vocabulary, samples: int, seed: int, process: int = 0
    ) -> None:
        device = bank.device
        number = {label: index for index, label in enumerate(vocabulary.labels)}
        missing = sorted({sound.label for sound in bank.sounds} - set(number))
        if missing:
            raise ValueError(
                f"the vocabulary lacks the class {missing[0]!r}: make it from the same corpus"
            )
        labels = [number[sound.label] for sound in bank.sounds]
        if len(set(labels)) < 2:
            raise ValueError(
                f"mixtures need at least two classes of sounds, not {len(set(labels))}"
            )
        self._device, self._origin = device, (seed, process)
        self._labels = torch.tensor(labels, device=device)
        bandwidths = [sound.bandwidth or torch.inf for sound in bank.sounds]
        self._bandwidths = torch.tensor(bandwidths, device=device)
        self._conflict = torch.as_tensor(vocabulary.conflict, device=device)
        self.drawer = Drawer(bank, samples)
        self._augmenter = Augmenter(samples, device)
        self._inquirer = Inquirer(vocabulary, sorted(set(labels)), device)

    @torch.no_grad()
    def batch(self, number: int, count: int, absent: float = ABSENT) -> MixedBatch:
        """Batch ``number`` of an even ``count`` of examples: always the same.

        Args:
            number: Of the batch.
            count: Of the examples.
            absent: Share of the queries that nothing in the mixture answers.
        """
        chance = Chance(self._device, *self._origin, number)
        drawn = self.drawer.draw(count, chance)
        segments = self._augmenter.filtered(self.drawer.segments(drawn), drawn.partner, chance)
        segments = _levelled(segments)
        labels = self._labels[drawn.clip]
        mixed = mix_batch(segments, labels, drawn.partner, self._conflict, chance)

        half = count // 2
        first = torch.arange(count, device=self._device) // half
        inside = mixed.inside.repeat(2, 1)
        sources = labels[mixed.segment].repeat(2, 1)
        queries = self._inquirer.ask(sources, inside, first, chance, absent)
        answered = ~queries.absent[:, None]
        # A second source that is not there, and no absent query found: the first is asked again.
        second = (first == 1) & inside[:, 1]
        both = mixed.sources.repeat(2, 1, 1)
        target = torch.where(second[:, None], both[:, 1], both[:, 0]) * answered

        gains = self._augmenter.gains(half, chance)
        mixture = self._augmenter.noise(mixed.mixture, chance) * gains
        mixture, target = mixture.repeat(2, 1), target * gains.repeat(2, 1)
        heard = torch.where(
            mixed.inside, (self._bandwidths[drawn.clip] * drawn.speed)[mixed.segment], torch.inf
        )
        bandwidth = heard.amin(1)
        narrowed = chance.happens(_ALL_NARROW, half) & bandwidth.isfinite()
        bandwidth, narrowed = bandwidth.repeat(2), narrowed.repeat(2)
        rows = narrowed.nonzero()[:, 0]
        if len(rows):
            for part in (mixture, target):
                part[rows] = low_pass(part[rows], bandwidth[rows], SAMPLE_RATE)
        bandwidth = torch.where(narrowed, torch.inf, bandwidth)
        return MixedBatch(mixture, target, bandwidth, queries, sources, inside)


def _levelled(segments: Tensor) -> Tensor:
    """Segments of a root mean square of 1; those that are as good as silent become so."""
    level = segments.square().mean(1, keepdim=True).sqrt()
    return torch.where(level > _SILENT, segments / level.clamp_min(_SILENT), 0)
