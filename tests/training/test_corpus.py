"""The corpus recipe on tiny inputs: rules, archives, splits, rendering, storage, a whole build."""

from __future__ import annotations

import random
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.corpus import build as building
from training.corpus.audio import UnreadableAudioError, duration, load, prepare
from training.corpus.duplicates import merge_copies
from training.corpus.fetch import fetch
from training.corpus.labels import LabelBook, load_labels
from training.corpus.midi import MidiFile, Note
from training.corpus.packages import Package, load_packages
from training.corpus.phrases import DRUM_KEYS, groove, phrase
from training.corpus.render import INSTRUMENTS, render, rendered_classes, score
from training.corpus.split import group_of, stable_hash
from training.corpus.split import test_groups as held_out_groups
from training.corpus.store import SAMPLE_RATE, Corpus, CorpusWriter, quantise
from training.corpus.unpack import read_archive, unpack


def tone(seconds: float, frequency: float = 440.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (0.8 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


class TestLabels:
    @pytest.mark.parametrize(
        ("key", "label"),
        [
            ("scratch/usr/share/scratch/Media/Sounds/Animal/Dog1.wav", "dog bark"),
            ("tuxpaint-stamps-default/stamps/animals/mammals/dogs/dog.ogg", "dog bark"),
            ("tuxpaint-stamps-default/stamps/animals/mammals/dogs/dog_desc_fr.ogg", "speech"),
            ("openttd-opensfx/22_Morse.wav", "beep"),
            ("openttd-opensfx/13_Steam (of steam engine).wav", "steam engine"),
            ("hydrogen-drumkits/ForzeeStereo/HiHatClosed-0.wav", "hi-hat"),
            ("hydrogen-drumkits/BJA_Pacific/SN3_01.aiff", "snare drum"),
            ("0ad-data/audio/music/Celtica.ogg", "music"),
            ("tuxpaint-stamps-default/stamps/hobbies/music/string/cello.ogg", "cello"),
            ("lomiri-sounds/sounds/lomiri/ringtones/Alarm clock.ogg", "alarm clock"),
        ],
    )
    def test_files_get_the_class_their_name_says(self, key: str, label: str) -> None:
        sound = load_labels().classify(key)
        assert sound is not None and sound.name == label

    def test_ignored_and_unknown_files_get_none(self) -> None:
        assert load_labels().classify("openttd-opensfx/34_Unused-Nothing.wav") is None
        assert load_labels().classify("scratch/qwertyuiop.wav") is None

    def test_every_class_has_distinct_short_queries(self) -> None:
        for sound in load_labels().classes:
            assert len(set(sound.phrases)) == len(sound.phrases) == 8, sound.name
            assert all(1 <= len(words.split()) <= 8 for words in sound.phrases), sound.name

    def test_rendered_classes_are_known(self) -> None:
        assert {load_labels().named(name).domain for name in rendered_classes()} == {
            "instruments",
            "drums",
        }

    def test_first_matching_class_wins(self) -> None:
        book = LabelBook(
            {
                "ignore": ["skip"],
                "class": [
                    {"name": "a", "domain": "drums", "phrases": ["a"], "patterns": ["x/one"]},
                    {"name": "b", "domain": "drums", "phrases": ["b"], "patterns": ["x/"]},
                ],
            }
        )
        found = [book.classify(key) for key in ("x/ONE.wav", "x/two.wav", "x/skip.wav", "y")]
        assert [sound and sound.name for sound in found] == ["a", "b", None, None]

    def test_faulty_rules_are_rejected(self) -> None:
        entry = {"name": "a", "domain": "drums", "phrases": ["a"], "patterns": []}
        with pytest.raises(ValueError, match="unknown domain"):
            LabelBook({"class": [{**entry, "domain": "noise"}]})
        with pytest.raises(ValueError, match="listed twice"):
            LabelBook({"class": [entry, entry]})
        with pytest.raises(ValueError, match="no class 'nonsense'"):
            load_labels().named("nonsense")

    def test_speech_sources_are_speakers(self) -> None:
        book = load_labels()
        stamp = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps/animals/birds/owl_desc"
        assert book.speech_source(f"{stamp}_fr.ogg") != book.speech_source(f"{stamp}_ru.ogg")
        assert book.is_test_speech(f"{stamp}.ogg") and book.is_test_speech(f"{stamp}_da.ogg")
        assert not book.is_test_speech(f"{stamp}_fr.ogg")
        assert book.is_test_speech(f"{stamp[:-9]}/symbols/math/1_en_GB.ogg")
        word = "ktuberling-data/usr/share/ktuberling/sounds/en/ball.ogg"
        assert book.speech_source(word) == "ktuberling-data/en"


class TestUnpack:
    def test_zip_yields_audio_with_safe_names(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pk3"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("sound/a.ogg", "readme.txt", "../b.ogg"):
                archive.writestr(name, name)
        assert list(read_archive(path)) == [("sound/a.ogg", b"sound/a.ogg")]

    def test_qt_resource(self, tmp_path: Path) -> None:
        path = tmp_path / "a.rcc"
        path.write_bytes(qt_resource({"one.wav": (0, b"plain"), "two.ogg": (1, b"packed " * 9)}))
        assert dict(read_archive(path)) == {"one.wav": b"plain", "two.ogg": b"packed " * 9}

    def test_sample_catalogue(self, tmp_path: Path) -> None:
        title, wave = b"Ship / horn\0", b"RIFFdata"
        content = bytes([len(title)]) + title + wave
        path = tmp_path / "a.cat"
        path.write_bytes(struct.pack("<2I", 8 | 0x80000000, len(wave)) + content)
        assert list(read_archive(path)) == [("00_Ship - horn.wav", wave)]

    def test_doom_sounds(self, tmp_path: Path) -> None:
        lump = struct.pack("<2HI", 3, 11025, 4) + bytes([128, 192, 128, 64])
        entry = struct.pack("<2I8s", 12, len(lump), b"DSPISTOL")
        path = tmp_path / "a.wad"
        path.write_bytes(struct.pack("<4s2I", b"IWAD", 1, 12 + len(lump)) + lump + entry)
        ((name, content),) = read_archive(path)
        (tmp_path / name).write_bytes(content)
        audio, rate = soundfile.read(tmp_path / name)
        assert name == "DSPISTOL.wav" and rate == 11025
        np.testing.assert_allclose(audio, [0, 0.5, 0, -0.5], atol=1e-3)

    def test_damaged_archives_are_named(self, tmp_path: Path) -> None:
        for name in ("a.zip", "b.cat"):
            (tmp_path / name).write_bytes(b"abc")
            with pytest.raises(ValueError, match=f"{name} is damaged"):
                list(read_archive(tmp_path / name))

    def test_package_without_archives_makes_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "package").mkdir()
        unpack(tmp_path / "package", tmp_path / "u")
        assert not (tmp_path / "u").exists()


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


class TestStore:
    def write(self, folder: Path) -> list[np.ndarray]:
        audios = [quantise(tone(0.5)), quantise(tone(0.25, 600.0))]
        with CorpusWriter(folder) as writer:
            for audio, label, split in zip(
                audios, ("dog bark", "piano"), ("train", "test"), strict=True
            ):
                domain = load_labels().named(label).domain
                writer.add(
                    audio,
                    package="p",
                    path='odd, "name".ogg',
                    label=label,
                    domain=domain,
                    split=split,
                    licence="CC0-1.0",
                )
        return audios

    def test_round_trip(self, tmp_path: Path) -> None:
        audios = self.write(tmp_path)
        corpus = Corpus(tmp_path)
        assert [clip.label for clip in corpus.clips] == ["dog bark", "piano"]
        assert corpus.clips[1].offset == len(audios[0])
        assert corpus.clips[0].path == 'odd, "name".ogg'
        for clip, audio in zip(corpus.clips, audios, strict=True):
            read = corpus.audio(clip)
            assert read.dtype == np.float32
            np.testing.assert_array_equal(quantise(read), audio)
        part = corpus.audio(corpus.clips[1], 100, 50)
        np.testing.assert_array_equal(part, corpus.audio(corpus.clips[1])[100:150])

    def test_questions_about_classes(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        corpus = Corpus(tmp_path)
        assert corpus.classes() == ["dog bark", "piano"]
        assert corpus.classes("train") == ["dog bark"] and corpus.classes("test") == ["piano"]
        assert corpus.domain("piano") == "instruments"
        assert "a dog barking" in corpus.phrases("dog bark")
        with pytest.raises(ValueError, match="no class"):
            corpus.phrases("nonsense")
        with pytest.raises(ValueError, match="lie outside"):
            corpus.audio(corpus.clips[0], 0, 10**6)

    def test_missing_and_damaged_folders(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="holds no corpus"):
            Corpus(tmp_path)
        self.write(tmp_path)
        table = (tmp_path / "clips.csv").read_text()
        (tmp_path / "clips.csv").write_text(table.replace("16000", "many", 1))
        with pytest.raises(ValueError, match="line 2 is no clip"):
            Corpus(tmp_path)
        (tmp_path / "clips.csv").write_text(
            "\n".join(table.splitlines()[:1] + table.splitlines()[2:])
        )
        with pytest.raises(ValueError, match="does not follow"):
            Corpus(tmp_path)
        (tmp_path / "clips.csv").write_text("other,columns\n")
        with pytest.raises(ValueError, match="columns"):
            Corpus(tmp_path)
        (tmp_path / "clips.csv").write_text(table)
        (tmp_path / "audio.i16").write_bytes(b"12")
        with pytest.raises(ValueError, match="damaged"):
            Corpus(tmp_path)

    def test_interrupted_build_keeps_the_old_corpus(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        with pytest.raises(KeyboardInterrupt), CorpusWriter(tmp_path):
            raise KeyboardInterrupt
        assert len(Corpus(tmp_path).clips) == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["audio.i16", "clips.csv"]


class TestBuild:
    packages = (Package("ktuberling-data", "GPL-2+", ""), Package("scratch", "CC-BY-SA-3.0", ""))

    def packages_folder(self, root: Path) -> Path:
        sounds = {
            "scratch/Sounds/Dog1.wav": tone(0.5, 300),
            "scratch/Sounds/Dog2.wav": tone(0.5, 310),
            "scratch/Sounds/Cat.wav": tone(0.6, 700),
            "scratch/Sounds/Kitten.wav": tone(0.6, 710),
            "scratch/Sounds/Meow.wav": tone(0.6, 720),
            "scratch/Sounds/meow.wav": tone(0.6, 720),
            "scratch/Sounds/Owl.wav": tone(0.1, 800),
            "scratch/music/song.wav": tone(1.0, 900),
            "ktuberling-data/sounds/en/ball.ogg": tone(3.0, 200),
            "ktuberling-data/sounds/en/hat.ogg": tone(6.0, 210),
            "ktuberling-data/sounds/fr/ball.ogg": tone(1.0, 220),
        }
        for name, audio in sounds.items():
            path = root / "x" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, audio, SAMPLE_RATE)
        (root / "x/scratch/Sounds/Rooster.wav").write_bytes(b"no sound")
        return root

    def test_small_corpus(self, tmp_path: Path) -> None:
        source = self.packages_folder(tmp_path / "packages")
        lines: list[str] = []
        corpus = building.build(tmp_path / "a", source, self.packages, load_labels(), lines.append)
        counts = Counter((clip.label, clip.split) for clip in corpus.clips)
        assert counts["dog bark", "train"] == 2
        assert counts["cat meow", "train"] == 2 and counts["cat meow", "test"] == 1
        assert counts["music", "train"] == 1 and counts["owl", "train"] == 0
        speech = [clip for clip in corpus.clips if clip.label == "speech"]
        # The two English words are joined; the French one stays alone.
        assert {clip.split for clip in speech} == {"test"} and len(speech) == 2
        assert sum(clip.path.endswith(" and 1 more") for clip in speech) == 1
        assert {clip.licence for clip in speech} == {"GPL-2+"}
        assert "left out 1 unreadable files" in lines
        assert "left out 1 too short or silent files" in lines
        assert "cat" not in building.summary(corpus) and "speech" in building.summary(corpus)

        again = building.build(tmp_path / "b", source, self.packages, load_labels())
        assert len(again.clips) == len(corpus.clips)
        for name in ("clips.csv", "audio.i16"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_missing_package_and_empty_package(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is missing"):
            building.build(tmp_path / "a", tmp_path, self.packages, load_labels())
        for package in self.packages:
            (tmp_path / "x" / package.name).mkdir(parents=True)
        with pytest.raises(ValueError, match="no sound"):
            building.build(tmp_path / "a", tmp_path, self.packages, load_labels())

    def test_fetch_needs_debian_only_for_what_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        (tmp_path / "x" / "scratch").mkdir(parents=True)
        fetch(["scratch"], tmp_path)
        with pytest.raises(RuntimeError, match="on Debian"):
            fetch(["scratch", "freedoom"], tmp_path)

    def test_command_reports_errors(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        assert building.main([str(tmp_path)]) == 1
        assert "error: apt-get is missing" in capsys.readouterr().err

    def test_packages_have_licences(self) -> None:
        packages = load_packages()
        assert all(package.licence and package.holds for package in packages)
        assert {package.kind for package in packages} == {
            "sounds",
            "soundfont",
            "held-out soundfont",
        }


def qt_resource(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A Qt resource (version 1) with the files in its root: name -> (flags, content)."""
    names, contents, nodes = b"", b"", b""
    nodes += struct.pack(">IH2I", 0, 2, len(files), 1)
    for name, (flags, content) in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags else content
        nodes += struct.pack(">IH2HI", len(names), flags, 0, 0, len(contents))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        contents += struct.pack(">I", len(stored)) + stored
    tree = 20
    data = tree + len(nodes)
    return (
        struct.pack(">4s4I", b"qres", 1, tree, data, data + len(contents))
        + nodes
        + contents
        + names
    )
