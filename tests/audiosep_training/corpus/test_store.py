"""The stored form of a corpus."""

from pathlib import Path

import numpy as np
import pytest

from audiosep_training.corpus.labels import load_labels
from audiosep_training.corpus.store import SAMPLE_RATE, Corpus, CorpusWriter, quantise


def tone(seconds: float, frequency: float = 440.0, rate: int = SAMPLE_RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (0.8 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


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
