"""Decoding, loudness and bandwidth of sounds; which are held out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_training.corpus.audio import UnreadableAudioError, duration, load, prepare
from audiosep_training.corpus.duplicates import merge_copies
from audiosep_training.corpus.split import group_of, stable_hash
from audiosep_training.corpus.split import test_groups as held_out_groups
from audiosep_training.corpus.store import SAMPLE_RATE, quantise


def tone(seconds: float, frequency: float = 440.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (0.8 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


class TestAudio:
    def test_clips_are_mono_trimmed_and_normalised(self, tmp_path: Path) -> None:
        quiet = np.zeros(4800, np.float32)
        left = np.concatenate([quiet, 0.1 * tone(1.0, rate=48000), quiet])
        soundfile.write(tmp_path / "a.wav", np.stack([left, 0 * left], axis=1), 48000)
        clip = load(tmp_path / "a.wav")
        assert clip is not None and clip.dtype == np.int16
        assert abs(len(clip) / SAMPLE_RATE - 1.0) < 0.01
        assert np.abs(clip).max() == round(0.5 * 32767)

    def test_short_and_silent_clips_are_left_out(self) -> None:
        assert prepare(tone(0.1)) is None
        assert prepare(np.zeros(SAMPLE_RATE, np.float32)) is None
        assert prepare(np.zeros(0, np.float32)) is None

    def test_long_clips_are_cut(self) -> None:
        clip = prepare(tone(61.0))
        assert clip is not None and len(clip) == 60 * SAMPLE_RATE

    def test_unreadable_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.ogg").write_bytes(b"no sound")
        assert duration(tmp_path / "a.ogg") == 60.0
        with pytest.raises(UnreadableAudioError):
            load(tmp_path / "a.ogg")


class TestSplit:
    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            ("a/gunshot1.wav", "a/gunshot2.wav", True),
            ("a/PearlTom1-Hard.wav", "a/PearlTom1-Softest.wav", True),
            ("a/bullet-rifle.ogg", "a/bullet-pistol.ogg", False),
            ("00_Good Year.wav", "01_Bad Year.wav", False),
            ("66_Tropical: Bird (1).wav", "72_Tropical: Bird (2).wav", True),
            ("1.ogg", "2.ogg", True),
        ],
    )
    def test_takes_of_a_sound_are_one_group(self, first: str, second: str, same: bool) -> None:
        assert (group_of("p", first) == group_of("p", second)) is same

    def test_groups_are_per_package(self) -> None:
        assert group_of("a", "dog.wav") != group_of("b", "dog.wav")

    def test_classes_of_few_groups_stay_whole(self) -> None:
        assert held_out_groups("x", ["a", "a", "b"]) == set()

    def test_a_fair_part_is_held_out(self) -> None:
        for count in (3, 5, 10, 40):
            groups = [f"g{index}" for index in range(count)] + ["big"] * 3
            held = held_out_groups("x", groups)
            assert held == held_out_groups("x", groups[::-1])
            clips = sum(groups.count(group) for group in held)
            assert 1 <= clips <= max(1, 0.25 * len(groups))

    def test_copies_join_their_groups(self) -> None:
        rng = np.random.default_rng(0)
        noises = [quantise(0.1 * rng.standard_normal(20000, np.float32)) for _ in range(3)]
        late_copy = quantise(0.3 * np.concatenate([np.zeros(700), noises[0] / 32767]))
        audios = [*noises, late_copy, noises[1][:9]]
        assert merge_copies(["d", "c", "b", "a", "b"], audios) == ["a", "c", "b", "a", "b"]
        assert merge_copies([], []) == []

    def test_hash_is_stable(self) -> None:
        assert stable_hash("dog") == 14799769488196005352
