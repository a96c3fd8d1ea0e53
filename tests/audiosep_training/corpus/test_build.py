"""A whole build, on tiny packages."""

import csv
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_training.corpus import build as building
from audiosep_training.corpus.added import read_manifest
from audiosep_training.corpus.audio import bandwidth, duration, load
from audiosep_training.corpus.fetch import fetch_packages
from audiosep_training.corpus.labels import load_labels
from audiosep_training.corpus.packages import Package, load_packages
from audiosep_training.corpus.store import SAMPLE_RATE


def tone(seconds: float, frequency: float = 440.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (0.8 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


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
        corpus = building.build_corpus(
            tmp_path / "a", source, self.packages, load_labels(), lines.append
        )
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

        again = building.build_corpus(tmp_path / "b", source, self.packages, load_labels())
        assert len(again.clips) == len(corpus.clips)
        for name in ("clips.csv", "audio.i16"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_recordings_of_others(self, tmp_path: Path, audiosep) -> None:
        source = self.packages_folder(tmp_path / "packages")
        alone = building.build_corpus(tmp_path / "alone", source, self.packages, load_labels())
        manifest = tmp_path / "mine/manifest.csv"
        manifest.parent.mkdir()
        columns = ("file", "class", "caption", "domain", "speaker", "tagger_agrees", "source")
        rows = [(f"dog{number}.wav", "dog bark", "", "", "", "no", "yard") for number in range(30)]
        rows += [
            (f"theremin{n}.wav", "theremin", "an old theremin", "instruments", "", "", "lab")
            for n in range(2)
        ]
        rows += [(f"{who}.wav", "speech", "", "", who, "no", "talks") for who in "abcdefghijklmnop"]
        rows += [
            ("stems/sectoid/song/0_guitar.opus", "distorted guitar", "", "", "", "", "songs"),
            ("stems/sectoid/song/0_backing.opus", "music", "", "music", "", "", "songs"),
            ("speech/picovoice/1.wav", "speech", "", "", "", "", "Picovoice/speech"),
        ]
        rng = random.Random(1)
        with manifest.open("w", newline="") as stream:
            csv.writer(stream).writerows([columns, *rows])
        for name, *_ in rows:
            path = manifest.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sound = np.concatenate([np.zeros(8000), tone(0.5, rng.uniform(200, 900))])
            # Opus, in an Ogg.
            opus = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
            soundfile.write(path, sound, SAMPLE_RATE if not opus else 48_000, **opus)
        packages = building.build_corpus(
            tmp_path / "all", source, self.packages, load_labels(), added=read_manifest(manifest)
        )
        added = packages.clips[len(alone.clips) :]
        # The test split, and all else, is what it was.
        assert packages.clips[: len(alone.clips)] == alone.clips
        assert not any(clip.split == "test" for clip in added) and len(added) == len(rows)
        by = {(clip.package, clip.path): clip for clip in added}
        # Takes of one sound are on one side, and so are a speaker's words.
        assert len({clip.split for clip in added if clip.package == "yard"}) == 1
        assert {clip.split for clip in added if clip.package == "talks"} == {"train", "validation"}
        assert by["yard", "dog1.wav"].weight == 0.5 and by["talks", "a.wav"].weight == 1
        # What would only be validated is trained on instead.
        assert {clip.split for clip in added if clip.label == "theremin"} == {"train"}
        assert packages.phrases("theremin") == ["theremin", "an old theremin"]
        assert packages.domain("theremin") == "instruments"
        assert by["Picovoice/speech", "speech/picovoice/1.wav"].bandwidth == 7800
        guitar, band = (
            by["songs", f"stems/sectoid/song/0_{name}.opus"] for name in ("guitar", "backing")
        )
        assert guitar.together == band.together != "" and band.label == "rhythm section"
        # Aligned: the silence in front is kept.
        assert guitar.samples == band.samples > by["talks", "a.wav"].samples
        assert not packages.audio(band, 0, 4000).round(2).any()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name,class\n", "lacks the column 'file'"),
            ("file,class\na.wav,dog bark\n", "line 2: .*a.wav is no file"),
            ("file,class\nmanifest.csv,\n", "names no class"),
            ("file,class,domain\nmanifest.csv,x,birds\n", "domain 'birds'"),
        ],
    )
    def test_faulty_manifests(self, text: str, message: str, tmp_path: Path, audiosep) -> None:
        (tmp_path / "manifest.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_manifest(tmp_path)
        code, _, err = audiosep("corpus", "build", "corpus", "--add", tmp_path / "manifest.csv")
        assert code == 1 and "Error: " in err and not Path("corpus/clips.csv").exists()

    def test_a_telephone_codec_without_a_header(self, tmp_path: Path) -> None:
        path = tmp_path / "prompt.g722"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:d=1", "-ar", "16000", path],
            check=True,
        )
        assert duration(path) == pytest.approx(1, abs=0.01)
        audio = load(path)
        assert audio is not None and len(audio) == pytest.approx(SAMPLE_RATE, rel=0.02)
        assert bandwidth(path, "speech") == 7760 and bandwidth(path, "music") == 0

    def test_missing_package_and_empty_package(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is missing"):
            building.build_corpus(tmp_path / "a", tmp_path, self.packages, load_labels())
        for package in self.packages:
            (tmp_path / "x" / package.name).mkdir(parents=True)
        with pytest.raises(ValueError, match="no sound"):
            building.build_corpus(tmp_path / "a", tmp_path, self.packages, load_labels())

    def test_fetch_needs_debian_only_for_what_is_missing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        (tmp_path / "x" / "scratch").mkdir(parents=True)
        fetch_packages(["scratch"], tmp_path)
        with pytest.raises(RuntimeError, match="on Debian"):
            fetch_packages(["scratch", "freedoom"], tmp_path)

    def test_command_reports_errors(self, audiosep, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: None)
        code, out, err = audiosep("corpus", "build", "corpus")
        assert (code, out) == (1, "")
        assert "\nError: apt-get is missing" in err

    def test_packages_have_licences(self) -> None:
        packages = load_packages()
        assert all(package.licence and package.holds for package in packages)
        assert {package.kind for package in packages} == {
            "sounds",
            "soundfont",
            "held-out soundfont",
        }
