"""Which segments meet, and how loud: mixtures of one to four sounds that cannot be confused."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from audiosep_training.mixer.augmenting import decibels
from audiosep_training.mixer.chance import Chance

#: Sounds beside the first one, at most, and how often there are fewer: 0, 1, 2.
OTHERS = 3
_FEWER = (0.03, 0.64, 0.90)
#: Candidates for a place; the first that nobody confuses is taken.
_CANDIDATES = 4
#: Of the second over the first; the others are softer, and stems of one song nearer.
_GAIN_DB, _SOFTER_DB, _SONG = 10.0, 3.0, 0.5


@dataclasses.dataclass
class Mixed:
    """Mixtures and what is in them.

    Attributes:
        mixture: (mixtures, samples).
        sources: (mixtures, 2, samples): the first two, each at its level in the mixture; zeros
            where there is no second.
        segment: (mixtures, 1 + OTHERS): which segment each source is.
        inside: (mixtures, 1 + OTHERS) bool: whether it is in the mixture.
    """

    mixture: Tensor
    sources: Tensor
    segment: Tensor
    inside: Tensor


def mix_batch(
    segments: Tensor, labels: Tensor, partner: Tensor, conflict: Tensor, chance: Chance
) -> Mixed:
    """Make half as many mixtures as there are segments.

    Mixture ``n`` holds segment ``n``, most often the one half a batch further on (of stems: its
    song), and sometimes others of the batch.

    Args:
        segments: (count, samples) at one level; silent ones are all zeros.
        labels: (count,) class of each.
        partner: (count,) segment that is a stem of the same song, -1 for none.
        conflict: (classes, classes) bool: which never meet, unless they are stems.
        chance: What is drawn from.
    """
    count, half = len(segments), len(segments) // 2
    device = segments.device
    me = torch.arange(half, device=device)
    candidates = chance.integers(count, half, OTHERS, _CANDIDATES)
    candidates[:, 0, 0] = me + half
    clash = conflict[labels[:half, None, None], labels[candidates]]
    clash |= candidates == me[:, None, None]
    chosen = (~clash).float().argmax(2, keepdim=True)
    other = candidates.gather(2, chosen)[..., 0]
    fits = ~clash.gather(2, chosen)[..., 0]
    song = partner[:half] >= 0
    other[song, 0] = partner[:half][song]
    fits[song, 0] = True
    number = torch.bucketize(chance.uniform(0, 1, half), torch.tensor(_FEWER, device=device))
    inside = fits & (torch.arange(OTHERS, device=device) < number[:, None])
    for later in range(1, OTHERS):
        for earlier in range(later):
            meets = conflict[labels[other[:, earlier]], labels[other[:, later]]]
            inside[:, later] &= ~(meets & inside[:, earlier])
    gain = chance.uniform(-_GAIN_DB, _GAIN_DB, half, OTHERS)
    gain[:, 1:] -= _SOFTER_DB
    gain[song, 0] *= _SONG
    amplitude = decibels(gain) * inside
    parts = [segments[other[:, n]] * amplitude[:, n, None] for n in range(OTHERS)]
    first = segments[:half]
    mixture = first + parts[0]
    for part in parts[1:]:
        mixture = mixture + part
    return Mixed(
        mixture,
        torch.stack([first, parts[0]], 1),
        torch.cat([me[:, None], other], 1),
        torch.cat([torch.ones(half, 1, dtype=torch.bool, device=device), inside], 1),
    )
