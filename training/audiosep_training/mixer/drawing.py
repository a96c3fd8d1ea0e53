"""Which sound is heard when: clips drawn by class and domain, and segments cut out of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.sounds import FULL_SCALE, SAMPLE_RATE, SoundBank

#: How often a domain is drawn; those without sounds are left out.
DOMAIN_SHARES = {
    "speech": 0.2,
    "instruments": 0.27,
    "drums": 0.13,
    "sound events": 0.34,
    "music": 0.06,
}
#: A class weighs the root of its seconds, no more than this, and less where its clips are few.
_MOST_ROOT_SECONDS = 18.0
_ENOUGH_CLIPS = 6
_LONGEST_COUNTED_SECONDS = 30.0
_SEMITONES, _SPEECH_SEMITONES = 3.0, 1.5
#: How often pitch and tempo stay as they are, and how often stems are drawn with their song.
_UNCHANGED, _ALIGNED = 0.5, 0.7
#: A sound shorter than the segment is repeated this often, with up to so long a pause.
_REPEATED, _LEAST_PAUSE, _MOST_PAUSE = 0.6, 0.05, 1.25
_FADE_SECONDS = 0.004
#: Longer than any segment: what is not repeated.
_NEVER = 1e12


@dataclasses.dataclass
class Drawn:
    """Segments to be cut; all (count,).

    Attributes:
        clip: Number of the clip in the bank.
        speed: Samples of the clip for one of the segment: changes pitch and tempo together.
        phase: Where in the clip, or in the segment, it starts: 0…1.
        repeat: Whether a short clip is heard again and again.
        pause: Seconds between.
        partner: Number of the segment that is a stem of the same song, from the same place on;
            -1 for none.
    """

    clip: Tensor
    speed: Tensor
    phase: Tensor
    repeat: Tensor
    pause: Tensor
    partner: Tensor


class Drawer:
    """Draws segments from a bank.

    Args:
        bank: The sounds.
        samples: Length of a segment.
    """

    def __init__(self, bank: SoundBank, samples: int) -> None:
        device = bank.device
        self._bank, self._samples = bank, samples
        self.probabilities = _probabilities(bank)
        cumulated = np.cumsum(self.probabilities)
        self._cumulated = torch.as_tensor(cumulated / cumulated[-1], device=device)
        self._offsets = torch.as_tensor(bank.offsets, device=device)
        self._lengths = torch.as_tensor(bank.lengths, device=device)
        speech = [sound.domain == "speech" for sound in bank.sounds]
        self._speech = torch.tensor(speech, device=device)
        self._partner = torch.tensor(_partners(bank), device=device)
        self._time = torch.arange(samples, device=device, dtype=torch.float64)

    def draw(self, count: int, chance: Chance) -> Drawn:
        """Draw segments; of two neighbours, both may be stems of one song."""
        position = chance.uniform(0, 1, count).double()
        clip = torch.searchsorted(self._cumulated, position).clamp_max(len(self._lengths) - 1)
        reach = torch.where(self._speech[clip], _SPEECH_SEMITONES, _SEMITONES)
        semitones = chance.uniform(-1, 1, count) * reach
        changed = ~chance.happens(_UNCHANGED, count)
        drawn = Drawn(
            clip=clip,
            speed=2 ** (semitones * changed / 12),
            phase=chance.uniform(0, 1, count),
            repeat=chance.happens(_REPEATED, count),
            pause=chance.uniform(_LEAST_PAUSE, _MOST_PAUSE, count),
            partner=torch.full_like(clip, -1),
        )
        first = torch.arange(count, device=chance.device)
        used = (self._partner[clip] >= 0) & chance.happens(_ALIGNED, count)
        first = first[used & (first % 2 == 0) & (first + 1 < count)]
        drawn.clip[first + 1] = self._partner[clip[first]]
        for values in (drawn.speed, drawn.phase, drawn.repeat, drawn.pause):
            values[first + 1] = values[first]
        drawn.partner[first], drawn.partner[first + 1] = first + 1, first
        return drawn

    def segments(self, drawn: Drawn) -> Tensor:
        """(count, samples) float32 in −1…1: long clips from some place on, short ones with silence.

        Between samples it interpolates by cubic splines (Catmull and Rom 1974).
        """
        length, speed = self._lengths[drawn.clip].double(), drawn.speed.double()
        phase = drawn.phase.double()
        span = self._samples * speed
        short = length < span
        start = torch.where(short, -(span - length) * phase, (length - span - 4) * phase)
        period = length + drawn.pause.double() * SAMPLE_RATE
        period = torch.where(drawn.repeat & short, period, _NEVER)[:, None]
        at = start[:, None] + self._time * speed[:, None]
        at = torch.where(period < _NEVER, torch.remainder(at, period), at)
        last = length[:, None] - 3
        inside = (at >= 1) & (at < last)
        at = at.clamp_min(1).minimum(last)
        whole = at.floor()
        part = (at - whole).float()
        index = whole.long() + self._offsets[drawn.clip][:, None]
        audio = self._bank.audio
        before, here, next_, after = (audio[index + step].float() for step in (-1, 0, 1, 2))
        cubic = 3 * (here - next_) + after - before
        square = 2 * before - 5 * here + 4 * next_ - after + part * cubic
        value = here + 0.5 * part * (next_ - before + part * square)
        edge = at.minimum(length[:, None] - at) / (_FADE_SECONDS * SAMPLE_RATE)
        return value * edge.clamp(0, 1).float() * inside / FULL_SCALE


def _probabilities(bank: SoundBank) -> np.ndarray:
    seconds = bank.lengths / SAMPLE_RATE
    labels = np.array([sound.label for sound in bank.sounds])
    domains = np.array([sound.domain for sound in bank.sounds])
    weights = np.array([sound.weight for sound in bank.sounds])
    weights = weights * np.sqrt(np.minimum(seconds, _LONGEST_COUNTED_SECONDS) + 0.3)
    probabilities = np.zeros(len(weights))
    for domain, share in DOMAIN_SHARES.items():
        members = {
            label: (domains == domain) & (labels == label)
            for label in np.unique(labels[domains == domain])
        }
        roots = {
            label: min(np.sqrt(seconds[chosen].sum() + 2), _MOST_ROOT_SECONDS)
            * np.sqrt(min(1, chosen.sum() / _ENOUGH_CLIPS))
            for label, chosen in members.items()
        }
        for label, chosen in members.items():
            of_class = share * roots[label] / sum(roots.values())
            probabilities[chosen] = of_class * weights[chosen] / weights[chosen].sum()
    return probabilities / probabilities.sum()


def _partners(bank: SoundBank) -> list[int]:
    """For each clip another one of its song, -1 for those without."""
    songs: dict[str, list[int]] = {}
    for number, sound in enumerate(bank.sounds):
        if sound.together:
            songs.setdefault(sound.together, []).append(number)
    partners = [-1] * len(bank.sounds)
    for stems in songs.values():
        if len(stems) > 1:
            for stem, following in zip(stems, stems[1:] + stems[:1], strict=True):
                partners[stem] = following
    return partners
