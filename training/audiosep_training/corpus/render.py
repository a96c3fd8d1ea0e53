"""Plays random phrases on the instruments of a General MIDI soundfont, with fluidsynth."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import soundfile

from audiosep_core.atomic import replacing
from audiosep_training.corpus.midi import DRUM_CHANNEL, MidiFile
from audiosep_training.corpus.phrases import DRUM_KEYS, groove, phrase

PHRASE_SECONDS = 10.0
_GAP_SECONDS = 2.0
_TAIL_SECONDS = 1.0
_RATE = 44100
_KITS = (0, 8, 16, 24, 25, 32, 40)
_REVERB_SEND, _ALL_SOUND_OFF = 91, 120


@dataclasses.dataclass(frozen=True)
class Instrument:
    """How a class is played: General MIDI programs from 0, styles, lowest and highest key."""

    label: str
    programs: tuple[int, ...]
    styles: tuple[str, ...]
    low: int
    high: int


_KEYS = ("melody", "chords", "arpeggio")
_LINE = ("melody",)
_BASS = ("bass", "melody")
_GUITAR = ("strum", "arpeggio", "melody")
_PADS = ("chords", "chords", "melody")

INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument("piano", (0, 1, 0, 2, 3), _KEYS, 36, 96),
    Instrument("electric piano", (4, 5), _KEYS, 40, 88),
    Instrument("harpsichord", (6,), _KEYS, 41, 86),
    Instrument("glockenspiel", (9, 8), _LINE, 72, 103),
    Instrument("music box", (10,), ("melody", "arpeggio"), 60, 96),
    Instrument("vibraphone", (11,), _KEYS, 53, 89),
    Instrument("marimba", (12,), ("melody", "arpeggio"), 48, 91),
    Instrument("xylophone", (13,), _LINE, 65, 103),
    Instrument("tubular bells", (14,), _LINE, 60, 79),
    Instrument("electric organ", (16, 17, 18), _KEYS, 40, 86),
    Instrument("church organ", (19,), ("chords", "melody"), 36, 86),
    Instrument("accordion", (21, 23), ("chords", "melody", "melody"), 53, 89),
    Instrument("harmonica", (22,), ("melody", "melody", "chords"), 60, 88),
    Instrument("acoustic guitar", (24, 25), _GUITAR, 40, 79),
    Instrument("electric guitar", (26, 27, 28), _GUITAR, 40, 81),
    Instrument("distorted guitar", (29, 30), ("strum", "melody"), 40, 79),
    Instrument("bass guitar", (33, 34, 36), _BASS, 28, 52),
    Instrument("double bass", (32, 43), _BASS, 28, 55),
    Instrument("violin", (40, 110), _LINE, 55, 93),
    Instrument("cello", (42,), _LINE, 36, 69),
    Instrument("string ensemble", (48, 49, 44), _PADS, 40, 86),
    Instrument("pizzicato strings", (45,), ("melody", "arpeggio"), 43, 86),
    Instrument("harp", (46,), ("arpeggio", "arpeggio", "melody"), 40, 91),
    Instrument("timpani", (47,), _BASS, 38, 57),
    Instrument("choir", (52, 53), _PADS, 48, 79),
    Instrument("trumpet", (56, 59), _LINE, 55, 82),
    Instrument("trombone", (57,), _LINE, 40, 72),
    Instrument("tuba", (58,), _BASS, 29, 55),
    Instrument("french horn", (60,), _LINE, 41, 74),
    Instrument("brass section", (61,), _PADS, 43, 81),
    Instrument("saxophone", (64, 65, 66, 67), _LINE, 46, 80),
    Instrument("oboe", (68, 69), _LINE, 58, 86),
    Instrument("bassoon", (70,), _LINE, 35, 67),
    Instrument("clarinet", (71,), _LINE, 50, 86),
    Instrument("piccolo", (72,), _LINE, 74, 103),
    Instrument("flute", (73,), _LINE, 60, 93),
    Instrument("recorder", (74, 79), _LINE, 65, 91),
    Instrument("pan flute", (75, 77), _LINE, 60, 88),
    Instrument("whistling", (78,), _LINE, 67, 91),
    Instrument("synthesizer", (80, 81, 84, 87, 88, 89), ("melody", "melody", "chords"), 43, 86),
    Instrument("sitar", (104,), ("melody", "arpeggio"), 48, 77),
    Instrument("banjo", (105,), ("arpeggio", "arpeggio", "strum"), 48, 79),
    Instrument("koto and shamisen", (107, 106), ("melody", "arpeggio"), 50, 81),
    Instrument("kalimba", (108,), ("melody", "arpeggio"), 55, 84),
    Instrument("bagpipes", (109,), _LINE, 56, 77),
    Instrument("steel drums", (114,), ("melody", "arpeggio"), 52, 84),
)
DRUM_CLASSES: tuple[str, ...] = ("drums", *DRUM_KEYS)


def rendered_classes() -> tuple[str, ...]:
    """All classes that can be rendered."""
    return (*(instrument.label for instrument in INSTRUMENTS), *DRUM_CLASSES)


def score(label: str, phrases: int, seed: str) -> bytes:
    """A MIDI file of random phrases for a class.

    Args:
        label: One of ``rendered_classes()``.
        phrases: How many; each takes ``PHRASE_SECONDS`` and a pause.
        seed: The same seed gives the same file.

    Raises:
        ValueError: The class cannot be rendered.
    """
    rng = random.Random(f"{seed}/{label}")
    instrument = next((each for each in INSTRUMENTS if each.label == label), None)
    if instrument is None and label not in DRUM_CLASSES:
        raise ValueError(f"{label!r} cannot be rendered: choose one of rendered_classes()")
    programs: Sequence[int] = _KITS if instrument is None else instrument.programs
    midi = MidiFile(DRUM_CHANNEL if instrument is None else 0)
    for index in range(phrases):
        start = index * (PHRASE_SECONDS + _GAP_SECONDS)
        # Long releases would otherwise sound into the next phrase.
        midi.control(max(0.0, start - 0.02), _ALL_SOUND_OFF, 0)
        midi.control(start, _REVERB_SEND, rng.randint(0, 40))
        midi.program(start, programs[index % len(programs)])
        if instrument is None:
            notes = groove(rng, PHRASE_SECONDS, DRUM_KEYS.get(label, ()))
        else:
            notes = phrase(rng, instrument.styles, instrument.low, instrument.high, PHRASE_SECONDS)
        midi.notes(notes, start)
    return midi.encode()


def render(
    soundfont: Path, folder: Path, phrases: int, seed: str, labels: Sequence[str] | None = None
) -> list[tuple[str, Path]]:
    """Render phrases of every class and return (class, WAV file) for each phrase.

    Files are named ``folder/<class>/<number>.wav``; classes rendered before from the same score
    are kept.

    Args:
        soundfont: An .sf2 or .sf3 file.
        folder: Where the files go.
        phrases: Phrases for each class, about 11 s long each.
        seed: Seed of the phrases.
        labels: Classes to render; by default all.

    Raises:
        RuntimeError: fluidsynth is missing or fails.
    """
    clips = []
    for label in rendered_classes() if labels is None else labels:
        target = folder / label
        target.mkdir(parents=True, exist_ok=True)
        files = [target / f"{index:02d}.wav" for index in range(phrases)]
        midi = score(label, phrases, seed)
        # The score is kept last, as the sign that its phrases are complete.
        kept = target / "score.mid"
        if not (kept.is_file() and kept.read_bytes() == midi):
            kept.unlink(missing_ok=True)
            _play(soundfont, midi, target, files)
            with replacing(kept) as partial:
                partial.write_bytes(midi)
        clips += [(label, path) for path in files]
    return clips


def _play(soundfont: Path, midi: bytes, folder: Path, files: Sequence[Path]) -> None:
    if shutil.which("fluidsynth") is None:
        raise RuntimeError("fluidsynth is missing: install the package fluidsynth")
    score_file, wave = folder / "playing.mid", folder / "playing.wav"
    score_file.write_bytes(midi)
    command = ["fluidsynth", "-ni", "-q", "-g", "0.5", "-R", "1", "-C", "0", "-r", str(_RATE)]
    command += ["-O", "float", "-T", "wav", "-F", str(wave), str(soundfont), str(score_file)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode or not wave.is_file():
        reason = (result.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"fluidsynth could not play {soundfont.name} ({reason})")
    audio, rate = soundfile.read(wave, dtype="float32", always_2d=True)
    for index, path in enumerate(files):
        start = int(index * (PHRASE_SECONDS + _GAP_SECONDS) * rate)
        stop = start + int((PHRASE_SECONDS + _TAIL_SECONDS) * rate)
        soundfile.write(path, audio[start:stop], rate, subtype="FLOAT")
    score_file.unlink()
    wave.unlink()
