"""Notes played on soundfonts."""

import random
import shutil
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_training.corpus.midi import MidiFile, Note
from audiosep_training.corpus.phrases import DRUM_KEYS, groove, phrase
from audiosep_training.corpus.render import INSTRUMENTS, render, score


class TestRendering:
    def test_midi_bytes(self) -> None:
        midi = MidiFile()
        midi.program(0.0, 40)
        midi.notes([Note(0.0, 0.5, 60, 100)], offset=1.0)
        data = midi.encode()
        assert data[:14] == b"MThd" + struct.pack(">I3H", 6, 0, 1, 480)
        # 960 ticks are 0x87 0x40 as a variable-length number, 480 are 0x83 0x60.
        track = "".join(("00c028", "8740903c64", "8360803c00", "00ff2f00"))
        assert data[22:].hex() == track
        assert data[18:22] == struct.pack(">I", len(track) // 2)

    def test_phrases_keep_to_the_instrument(self) -> None:
        for seed in range(20):
            rng = random.Random(seed)
            for instrument in INSTRUMENTS:
                notes = phrase(rng, instrument.styles, instrument.low, instrument.high, 10.0)
                assert notes, instrument.label
                assert all(instrument.low <= note.key <= instrument.high for note in notes)
                assert all(0 < note.velocity < 128 and note.length > 0 for note in notes)
                assert max(note.start + note.length for note in notes) <= 10.0

    def test_grooves_play_what_they_should(self) -> None:
        for label, keys in DRUM_KEYS.items():
            notes = groove(random.Random(label), 10.0, keys)
            assert notes and {note.key for note in notes} <= set(keys)
        whole = Counter(note.key for note in groove(random.Random(1), 10.0))
        assert whole[36] and whole[38]

    def test_scores_depend_on_seed_and_class(self) -> None:
        assert score("violin", 2, "a") == score("violin", 2, "a") != score("violin", 2, "b")
        with pytest.raises(ValueError, match="cannot be rendered"):
            score("dog bark", 1, "a")

    def test_fluidsynth_plays_a_score(self, tmp_path: Path) -> None:
        fonts = sorted(Path("/usr/share/sounds").glob("sf[23]/*.sf[23]"))
        if shutil.which("fluidsynth") is None or not fonts:
            pytest.skip("needs fluidsynth and a soundfont")
        clips = render(fonts[0], tmp_path, 2, "seed", ["piano", "drums"])
        assert [label for label, _ in clips] == ["piano", "piano", "drums", "drums"]
        for _, path in clips:
            audio, _ = soundfile.read(path)
            assert np.abs(audio).max() > 0.01
