"""What happens to a sound on its way to the ear: equalisers, rooms, narrow bands, noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.sounds import SAMPLE_RATE

_EQUALISED, _EQUALISER_DB, _EQUALISER_POINTS, _LOWEST_HZ = 0.65, 3.5, 10, 30.0
_IN_A_ROOM, _ROOM_SECONDS = 0.35, 0.6
_DECAY_SECONDS, _FIRST_ECHO_SECONDS, _ROOM_DB = (0.08, 0.55), (0.001, 0.02), (-16.0, 2.0)
_DULL, _DULL_HZ = 0.06, (3500.0, 13_000.0)
_DULL_SLOPE_HZ = 150.0
#: Of low_pass, which marks where a narrow-band recording ends.
_SLOPE_HZ = 60.0
#: What a room's echoes have lost after the decay time, in nepers: 60 dB.
_DECAY = 6.9
_NOISY, _NOISE_DB = 0.25, (-65.0, -32.0)
#: How often a mixture starts late, after what share of its length, and its fade in samples.
_LATE, _LATE_SHARE, _LATE_FADE = 0.07, (0.03, 0.3), 64
_LEVEL_DB = (-50.0, -5.0)


class Augmenter:
    """Filters segments of one length.

    Args:
        samples: Length of a segment.
        device: Where they are.
    """

    def __init__(self, samples: int, device: torch.device) -> None:
        self._samples = samples
        room = int(_ROOM_SECONDS * SAMPLE_RATE)
        self._size = _fast_size(samples + room)
        self._hertz = torch.fft.rfftfreq(self._size, 1 / SAMPLE_RATE, device=device)
        self._room_time = torch.arange(room, device=device) / SAMPLE_RATE
        self._time = torch.arange(samples, device=device)

    def filtered(self, segments: Tensor, partner: Tensor, chance: Chance) -> Tensor:
        """(count, samples) through equalisers, rooms and dull microphones, each its own.

        Args:
            segments: (count, samples).
            partner: (count,): segments with a partner before them share its filter; -1 for none.
            chance: What is drawn from.
        """
        response = self._responses(len(segments), chance)
        later = (partner >= 0) & (partner < torch.arange(len(partner), device=partner.device))
        response[later] = response[partner[later]]
        spectra = torch.fft.rfft(segments, self._size) * response
        return torch.fft.irfft(spectra, self._size)[:, : self._samples]

    def noise(self, mixtures: Tensor, chance: Chance) -> Tensor:
        """Mixtures with a noise floor, some of them."""
        count = len(mixtures)
        gain = decibels(chance.uniform(*_NOISE_DB, count)) * chance.happens(_NOISY, count)
        level = (gain * mixtures.square().mean(1).sqrt())[:, None]
        return mixtures + chance.normal(*mixtures.shape) * level

    def gains(self, count: int, chance: Chance) -> Tensor:
        """(count, samples): the level of each mixture, and silence before those that start late."""
        level = decibels(chance.uniform(*_LEVEL_DB, count))[:, None]
        late = chance.uniform(*_LATE_SHARE, count) * self._samples
        opened = ((self._time - late[:, None]) / _LATE_FADE).clamp(0, 1)
        return level * torch.where(chance.happens(_LATE, count)[:, None], opened, 1.0)

    def _responses(self, count: int, chance: Chance) -> Tensor:
        """(count, frequencies) complex."""
        gains = chance.normal(count, _EQUALISER_POINTS) * _EQUALISER_DB
        gains = gains * chance.happens(_EQUALISED, count, 1)
        octaves = (self._hertz.clamp_min(_LOWEST_HZ) / _LOWEST_HZ).log2()
        position = octaves / octaves[-1] * (_EQUALISER_POINTS - 1)
        point = position.long().clamp_max(_EQUALISER_POINTS - 2)
        part = position - point
        response = decibels(gains[:, point] * (1 - part) + gains[:, point + 1] * part)
        dull = chance.uniform(*_DULL_HZ, count)[:, None]
        dulled = torch.sigmoid((dull - self._hertz) / _DULL_SLOPE_HZ)
        response = response * torch.where(chance.happens(_DULL, count)[:, None], dulled, 1.0)
        response = response.to(torch.complex64)
        roomy = chance.happens(_IN_A_ROOM, count).nonzero()[:, 0]
        if len(roomy):
            response[roomy] = response[roomy] * torch.fft.rfft(
                self._rooms(len(roomy), chance), self._size
            )
        return response

    def _rooms(self, count: int, chance: Chance) -> Tensor:
        """Impulse responses: the sound, then decaying noise."""
        decay = chance.uniform(*_DECAY_SECONDS, count)[:, None]
        first = chance.uniform(*_FIRST_ECHO_SECONDS, count)[:, None]
        tail = chance.normal(count, len(self._room_time))
        tail = tail * torch.exp(-_DECAY * self._room_time / decay) * (self._room_time > first)
        tail = tail / tail.square().sum(1, keepdim=True).sqrt()
        tail = tail * decibels(chance.uniform(*_ROOM_DB, count))[:, None]
        tail[:, 0] = 1
        return tail


def decibels(gain: Tensor) -> Tensor:
    """The factor of an amplitude for a gain in decibels."""
    return torch.exp(gain * (math.log(10) / 20))


def low_pass(waveform: Tensor, bandwidth: Tensor, sample_rate: int) -> Tensor:
    """(batch, samples) without what lies above (batch,) bandwidths in Hz, same phase."""
    samples = waveform.shape[1]
    hertz = torch.fft.rfftfreq(samples, 1 / sample_rate, device=waveform.device)
    kept = torch.sigmoid((bandwidth[:, None] - hertz) / _SLOPE_HZ)
    return torch.fft.irfft(torch.fft.rfft(waveform) * kept, samples)


def _fast_size(least: int) -> int:
    """The next size whose prime factors are small."""
    return min(odd * 2 ** math.ceil(math.log2(least / odd)) for odd in (1, 3, 5, 7, 15, 21, 75))
