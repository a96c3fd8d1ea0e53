"""The open bench: a table of pieces, and the mixtures that come of a folder of recordings."""

import csv

import numpy as np
import pytest

from audiosep_core.errors import AudioFileError, MetadataError
from audiosep_training.corpus.added import read_manifest
from audiosep_training.corpus.classes import load_classes
from audiosep_training.evaluation.sets.layouts import SetOptions
from audiosep_training.evaluation.sets.open_bench import TABLE, draw, open_bench, write_table

LABELS = ("dog bark", "rain", "piano", "violin", "hi-hat", "speech")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    import soundfile

    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    rows = []
    for label in LABELS:
        for number in range(40):
            name = f"{label}/{number}.wav"
            (folder / label).mkdir(exist_ok=True)
            audio = 0.1 * rng.standard_normal(8000 + 100 * number)
            soundfile.write(folder / name, audio, 8000)
            rows.append({"file": name, "class": label, "speaker": f"s{number}",
                         "source": f"made up {number} {label}"})  # fmt: skip
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_only_what_training_leaves_out_is_drawn(recordings, tmp_path):
    rows = list(draw(recordings, 24, seed=1))
    assert rows == list(draw(recordings, 24, seed=1)) != list(draw(recordings, 24, seed=2))
    files = {file.path: file for file in read_manifest(recordings)}
    for row in rows:
        target, background = files[row["target"]], files[row["background"]]
        assert target.split == background.split == "validation"
        sound = load_classes().named(target.label)
        assert background.label not in (target.label, *sound.confusable)
        assert row["query"] in sound.phrases and row["domain"] == sound.domain
    assert len({row["domain"] for row in rows}) == 4
    write_table(rows, tmp_path / "table.csv")
    items = list(open_bench(SetOptions(recordings, tmp_path / "table.csv")))
    for item in items:
        sounds = item.sounds.load()
        assert sounds.mixture.shape == sounds.target.shape == (1, 192_000)
        energies = [np.sum(np.square(it, dtype=float)) for it in
                    (sounds.target, sounds.mixture - sounds.target)]  # fmt: skip
        assert 10 * np.log10(energies[0] / energies[1]) == pytest.approx(0, abs=0.01)
    assert len({item.sounds.fingerprint() for item in items}) > len(items) / 2


def test_another_recording_is_told(recordings, tmp_path):
    rows = list(draw(recordings, 2))
    rows[0]["target_sha256"] = "0" * 16
    rows[1]["background"] = "gone.wav"
    write_table(rows, tmp_path / "table.csv")
    changed, gone = open_bench(SetOptions(recordings, tmp_path / "table.csv"))
    with pytest.raises(AudioFileError, match="another recording than the benchmark's"):
        changed.sounds.load()
    with pytest.raises(AudioFileError, match=r"gone\.wav cannot be read"):
        gone.sounds.load()


def test_too_little_is_told(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,class\n")
    with pytest.raises(MetadataError, match="too few"):
        list(draw(tmp_path))


def test_the_shipped_table():
    """Names pieces of files of two classes that cannot be mistaken, in four domains."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["id"] for row in rows}) == 120
    assert all(row["target"] != row["background"] for row in rows)
    counts = [sum(row["domain"] == domain for row in rows) for domain in
              ("speech", "instruments", "drums", "sound events")]  # fmt: skip
    assert counts == [30] * 4


def test_the_command_puts_all_side_by_side(recordings, tmp_path, audiosep):
    write_table(draw(recordings, 2), tmp_path / "table.csv")
    options = ["--data", recordings, "--metadata", "table.csv", "-o", "out", "--device", "cpu"]
    code, out, error = audiosep("evaluate", "open-bench", *options)
    assert code == 0, error
    for name in ("mini", "unprocessed", "wiener", "ideal-ratio-mask", "ideal-binary-mask"):
        assert name in out
    assert (tmp_path / "out" / "report.json").is_file()
    code, _, error = audiosep("evaluate", "open-bench", "--data", tmp_path, "--compare", "wiener")
    assert code == 1 and "cannot be read" in error
