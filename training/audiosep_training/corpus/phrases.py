"""Random music for rendering: melodies, chords, bass lines and drum grooves as notes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from audiosep_training.corpus.midi import Note

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 2, 3, 5, 7, 9, 10))
_PROGRESSIONS = ((0, 3, 4, 0), (0, 4, 5, 3), (0, 5, 3, 4), (1, 4, 0, 0), (0, 0, 3, 4))
_RHYTHMS = ((1.0,), (0.5, 0.5), (0.5, 0.25, 0.25), (1.5, 0.5), (2.0,), (0.75, 0.25), (1 / 3,) * 3)
_STEPS = (-3, -2, -1, -1, 0, 1, 1, 2, 3)
_STRUM = 0.018

#: Keys of the General MIDI drum kit by the class that a groove of only them belongs to.
DRUM_KEYS: dict[str, tuple[int, ...]] = {
    "kick drum": (35, 36),
    "snare drum": (38, 40, 37),
    "hi-hat": (42, 44, 46),
    "tom drum": (41, 43, 45, 47, 48, 50),
    "cymbal": (49, 51, 57, 59, 55),
    "hand percussion": (54, 56, 70, 69, 75, 76, 82),
    "bongos and hand drums": (60, 61, 62, 63, 64),
}


def phrase(
    rng: random.Random, styles: Sequence[str], low: int, high: int, seconds: float
) -> list[Note]:
    """A phrase of about ``seconds`` s with keys in ``low``…``high``.

    Args:
        rng: Where the chance comes from.
        styles: Some of "melody", "chords", "arpeggio", "strum", "bass"; one is drawn.
        low: Lowest key.
        high: Highest key.
        seconds: Length; the notes end by then.
    """
    beat = 60 / rng.uniform(65, 160)
    scale = rng.choice(_SCALES)
    root = rng.randrange(12)
    keys = [key for key in range(low, high + 1) if (key - root) % 12 in scale]
    loudness = rng.randint(60, 115)
    style = rng.choice(styles)
    if style in ("melody", "bass"):
        notes = _melody(rng, keys, beat, loudness, seconds, walking=style == "bass")
    else:
        notes = _chords(rng, keys, beat, loudness, seconds, style)
    return [note for note in notes if note.start + note.length <= seconds]


def groove(rng: random.Random, seconds: float, only: Sequence[int] = ()) -> list[Note]:
    """A drum groove of about ``seconds`` s.

    Args:
        rng: Where the chance comes from.
        seconds: Length; the notes end by then.
        only: Keys to play instead of a whole kit.
    """
    sixteenth = 15 / rng.uniform(75, 150)
    if only:
        lanes = {key: _lane(rng) for key in rng.sample(list(only), min(len(only), 3))}
    else:
        pulse = rng.choice((1, 2, 2, 4))
        lanes = {
            36: tuple(step in (0, 8) or rng.random() < 0.12 for step in range(16)),
            38: tuple(step in (4, 12) or rng.random() < 0.06 for step in range(16)),
            rng.choice((42, 42, 51)): tuple(step % pulse == 0 for step in range(16)),
        }
    notes = []
    for step in range(int(seconds / sixteenth) - 1):
        bar, position = divmod(step, 16)
        for key, lane in lanes.items():
            if lane[position]:
                notes.append(_hit(rng, step * sixteenth, key))
        if not only and position == 0 and bar % 4 == 0:
            notes.append(_hit(rng, step * sixteenth, 49))
        if not only and bar % 4 == 3 and position >= 12:
            notes.append(_hit(rng, step * sixteenth, rng.choice(DRUM_KEYS["tom drum"])))
    return notes


def _melody(
    rng: random.Random,
    keys: Sequence[int],
    beat: float,
    loudness: int,
    seconds: float,
    walking: bool,
) -> list[Note]:
    position = rng.randrange(len(keys) // 4, max(len(keys) // 4 + 1, 3 * len(keys) // 4))
    notes: list[Note] = []
    time = 0.0
    held = rng.choice((0.5, 0.85, 0.98))
    while time < seconds:
        for length in (0.5, 0.5) if walking else rng.choice(_RHYTHMS):
            duration = length * beat
            if rng.random() > 0.08:
                velocity = _vary(rng, loudness)
                notes.append(Note(time, max(0.06, duration * held), keys[position], velocity))
            time += duration
            position = min(max(position + rng.choice(_STEPS), 0), len(keys) - 1)
    return notes


def _chords(
    rng: random.Random,
    keys: Sequence[int],
    beat: float,
    loudness: int,
    seconds: float,
    style: str,
) -> list[Note]:
    progression = rng.choice(_PROGRESSIONS)
    size = rng.choice((3, 3, 4))
    base = rng.randrange(max(1, len(keys) // 2))
    tune = style == "chords" and rng.random() < 0.5
    notes: list[Note] = []
    bar = 0
    while 4 * beat * bar < seconds:
        start = 4 * beat * bar
        degree = progression[bar % len(progression)]
        picks = [base + degree + 2 * voice for voice in range(size)]
        chord = [keys[pick] for pick in picks if pick < len(keys)]
        if style == "arpeggio":
            order = rng.sample(chord, len(chord)) if rng.random() < 0.3 else chord
            for step in range(8):
                key = order[step % len(order)]
                time = start + step * beat / 2
                notes.append(Note(time, beat * 0.9, key, _vary(rng, loudness)))
        else:
            beats = rng.choice(((0, 2), (0, 1, 2, 3), (0, 1.5, 2.5, 3.5), (0,)))
            for index, position in enumerate(beats):
                following = beats[index + 1] if index + 1 < len(beats) else 4
                length = (following - position) * beat * 0.95
                for voice, key in enumerate(chord):
                    delay = voice * _STRUM if style == "strum" else 0.0
                    time = start + position * beat + delay
                    notes.append(Note(time, length - delay, key, _vary(rng, loudness)))
        bar += 1
    if tune:
        upper = keys[-max(3, len(keys) // 3) :]
        notes += _melody(rng, upper, beat, min(loudness + 8, 120), seconds, walking=False)
    return notes


def _lane(rng: random.Random) -> tuple[bool, ...]:
    density = rng.choice((0.15, 0.3, 0.5, 0.8))
    lane = [rng.random() < density for _ in range(16)]
    lane[rng.randrange(0, 16, 4)] = True
    return tuple(lane)


def _hit(rng: random.Random, time: float, key: int) -> Note:
    return Note(time + rng.uniform(0, 0.006), 0.1, key, rng.randint(60, 120))


def _vary(rng: random.Random, loudness: int) -> int:
    return min(max(loudness + rng.randint(-12, 12), 30), 124)
