"""Runs that stop and go on: nothing is done twice, nothing half-done counts as done."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.errors import AudioFileError, DeviceError, UsageError
from audiosep_core.files.catalogue import JOURNAL, Job
from audiosep_core.files.cluster import workers_of
from audiosep_core.files.job import Outcome, SeparationOptions, WrittenStem
from audiosep_core.files.journal import Journal
from audiosep_core.files.runs import separate_files
from audiosep_core.model.installed import open_model
from audiosep_core.settings import Settings

RATE = 16000
BUNDLE = open_model()
OPTIONS = SeparationOptions(Settings("drums"), with_residual=True)


def write(path, seconds=1.0, seed=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * RATE), 1))
    soundfile.write(path, audio, RATE)
    return path


def records(output):
    return [json.loads(line) for line in (output / JOURNAL).read_text().splitlines()]


def identity(path):
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


class KilledError(Exception):
    """The run's process ends here, without any chance to clean up."""


class Stopping:
    """An executor that writes a word, and stops or fails as it is told.

    Each step says what happens to the next job: "done", "failed", or "stopped" before, between
    or after its files are in place.
    """

    def __init__(self, steps):
        self.steps = steps
        self.completed = []

    def execute(self, jobs, started):
        for job in jobs:
            step = next(self.steps, "done")
            started(job, "host:1")
            if step == "failed":
                yield Outcome(job, error=AudioFileError("no"))
                continue
            stems = []
            for place, (query, path) in enumerate(OPTIONS.stem_paths(job).items()):
                path.parent.mkdir(parents=True, exist_ok=True)
                (path.parent / f".{path.name}.x.part").write_text("half")
                if step == f"stopped {place}":
                    raise KilledError
                (path.parent / f".{path.name}.x.part").replace(path)
                path.write_text(query)
                stems.append(WrittenStem(query, path, 0.5, 0, False))
            if step == "stopped 2":
                raise KilledError
            self.completed.append(job.source.name)
            yield Outcome(job, stems)


STEPS = st.lists(
    st.sampled_from(["done", "failed", "stopped 0", "stopped 1", "stopped 2"]), max_size=12
)


@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_every_job_is_completed_once_however_often_the_run_stops(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("run")
    jobs = [Job(folder / f"{n}.wav", folder / "out" / str(n)) for n in range(4)]
    for job in jobs:
        job.source.write_text("audio")
    executor = Stopping(iter(steps))
    for _ in range(len(steps) + 1):
        finished = {}
        try:
            with Journal(folder / "out", OPTIONS, BUNDLE) as journal:
                for outcome in separate_files(jobs, OPTIONS, executor, journal, resume=True):
                    assert outcome.job not in finished
                    finished[outcome.job] = outcome
        except KilledError:
            continue
    assert Counter(executor.completed) == Counter(job.source.name for job in jobs)
    assert set(finished) == set(jobs)
    assert all(outcome.error is None for outcome in finished.values())
    stems = [path for job in jobs for path in OPTIONS.stem_paths(job).values()]
    found = {path for path in (folder / "out").rglob("*") if path.is_file()}
    assert found == {*stems, folder / "out" / JOURNAL}


@pytest.fixture
def done(tmp_path):
    """A job that is done, and a function that tells whether options still think so."""
    job = Job(write(tmp_path / "a.wav"), tmp_path / "out/a")
    with Journal(tmp_path / "out", OPTIONS, BUNDLE) as journal:
        list(separate_files([job], OPTIONS, Stopping(iter([])), journal))

    def is_done(options=OPTIONS):
        with Journal(tmp_path / "out", options, BUNDLE) as journal:
            return journal.finished(job) is not None

    assert is_done()
    return job, is_done


def test_what_decides_the_stems_decides_what_is_done(done):
    job, is_done = done
    assert not is_done(SeparationOptions(Settings("bass"), with_residual=True))
    assert not is_done(SeparationOptions(Settings("drums")))
    assert not is_done(SeparationOptions(Settings("drums"), with_residual=True, format="flac"))
    assert is_done(
        SeparationOptions(Settings("drums"), with_residual=True, device="cpu", threads=1)
    )
    write(job.source, seed=4)
    assert not is_done()


def test_a_stem_that_is_gone_or_cut_off_is_not_done(done):
    job, is_done = done
    stem = job.folder / "drums.wav"
    stem.write_text("d")
    assert not is_done()
    stem.write_text("drums")
    assert is_done()
    stem.unlink()
    assert not is_done()


def test_a_stem_that_another_run_replaced_is_not_done(done):
    job, is_done = done
    other = SeparationOptions(Settings("drums"))
    with Journal(job.folder.parent, other, BUNDLE) as journal:
        list(separate_files([job], other, Stopping(iter([])), journal, overwrite=True))
    assert not is_done()
    assert is_done(other)


@pytest.mark.parametrize("damage", [b'{"event": "done", "ke', b"\x00\xff\n", b"7\n", b"[]\n{}\n"])
def test_a_damaged_line_is_passed_over(done, damage):
    job, is_done = done
    with (job.folder.parent / JOURNAL).open("ab") as file:
        file.write(damage)
    assert is_done()
    other = Job(write(job.source.parent / "b.wav"), job.folder.parent / "b")
    for _ in range(2):
        with Journal(job.folder.parent, OPTIONS, BUNDLE) as journal:
            outcomes = list(
                separate_files([other], OPTIONS, Stopping(iter([])), journal, resume=True)
            )
    assert outcomes[0].resumed


def test_files_of_others_are_refused_also_on_resume(audiosep):
    for name in "ab":
        write(Path(f"{name}.wav"))
    Path("out/b").mkdir(parents=True)
    Path("out/b/drums.wav").write_bytes(b"mine")
    for _ in range(2):
        code, _, err = audiosep(
            "separate", "a.wav", "b.wav", "-q", "drums", "-o", "out", "--resume"
        )
        assert code == 2
        assert "out/b/drums.wav exists; give --overwrite" in err
    assert Path("out/b/drums.wav").read_bytes() == b"mine"


def test_a_missing_file_of_a_list_fails_alone_and_is_done_later(audiosep):
    write(Path("a.wav"))
    Path("list.txt").write_text("a.wav\nsub/b.wav\n")
    line = ["separate", "--list", "list.txt", "-q", "drums", "-o", "out", "--resume", "--json"]
    code, out, err = audiosep(*line)
    assert code == 2
    assert "failed: 1 of 2 files" in err
    [failure] = json.loads(out)["failures"]
    assert failure["input"] == "sub/b.wav" and "does not exist" in failure["error"]
    write(Path("sub/b.wav"))
    code, out, _ = audiosep(*line)
    assert code == 0
    assert [(file["input"], file["resumed"]) for file in json.loads(out)["files"]] == [
        ("a.wav", True),
        ("sub/b.wav", False),
    ]


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_goes_on(audiosep, tmp_path, sent):
    for name in "abc":
        write(tmp_path / f"{name}.wav")
    code = (
        "import os, sys; from audiosep_core.files import job\n"
        "from audiosep_core.commands import main\n"
        "write, calls = job._write, []\n"
        "def stop(*arguments):\n"
        "    write(*arguments); calls.append(0)\n"
        f"    if len(calls) == 3: os.kill(os.getpid(), {int(sent)})\n"
        "job._write = stop\n"
        "sys.argv = ['audiosep', 'separate', 'a.wav', 'b.wav', 'c.wav', '-q', 'drums', "
        "'-o', 'out']\n"
        "main()"
    )
    stopped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    partial = [path.name for path in Path("out").rglob("*.part")]
    assert [record["event"] for record in records(Path("out"))] == ["started", "done", "started"]
    if sent == signal.SIGINT:
        assert stopped.returncode == 130
        assert "1 of 3 files are done; --resume goes on" in stopped.stderr
        assert not partial
    else:
        assert len(partial) == 1
    before = identity(Path("out/a/drums.wav"))
    code, out, err = audiosep(
        "separate", "a.wav", "b.wav", "c.wav", "-q", "drums", "-o", "out", "--resume", "--json"
    )
    assert code == 0, err
    assert [file["resumed"] for file in json.loads(out)["files"]] == [True, False, False]
    assert identity(Path("out/a/drums.wav")) == before
    assert not list(Path("out").rglob("*.part"))
    finished = [record["input"] for record in records(Path("out")) if record["event"] == "done"]
    assert finished == ["a.wav", "b.wav", "c.wav"]


def test_workers_follow_the_cluster():
    cores = {"CPU": 8.0}
    assert workers_of(cores, SeparationOptions(("a",), threads=1)) == (8, {"num_cpus": 1})
    assert workers_of(cores, SeparationOptions(("a",), threads=3)) == (2, {"num_cpus": 3})
    gpus = {"CPU": 8.0, "GPU": 2.0}
    for device in ("auto", "cuda"):
        options = SeparationOptions(("a",), threads=1, device=device)
        assert workers_of(gpus, options) == (2, {"num_gpus": 1, "num_cpus": 0})
    assert workers_of(gpus, SeparationOptions(("a",), threads=1, device="cpu"))[0] == 8
    with pytest.raises(DeviceError, match="no GPU"):
        workers_of(cores, SeparationOptions(("a",), threads=1, device="cuda"))
    with pytest.raises(UsageError, match="lower --threads"):
        workers_of(cores, SeparationOptions(("a",), threads=9))


def test_ray_that_is_missing_or_not_there(audiosep, monkeypatch):
    write(Path("a.wav"))
    code, _, err = audiosep("separate", "a.wav", "-q", "a", "-o", "out", "--ray", "127.0.0.1:1")
    assert code == 2
    assert "no Ray cluster can be used at '127.0.0.1:1'" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = audiosep("separate", "a.wav", "-q", "a", "-o", "out", "--ray", "local")
    assert code == 2
    assert "pip install 'audiosep[ray]'" in err
    assert not Path("out").exists()
