"""Runs on a real Ray cluster of two workers, which are killed."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
import soundfile

from audiosep_core.commands.console import file_progress
from audiosep_core.errors import BundleError
from audiosep_core.files.catalogue import JOURNAL, plan
from audiosep_core.files.cluster import MOST_ATTEMPTS, RayWorkers
from audiosep_core.files.job import SeparationOptions
from audiosep_core.files.journal import Journal
from audiosep_core.files.runs import InProcess, separate_files
from audiosep_core.model.installed import open_model
from audiosep_core.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals differ"),
]
RATE = 32000
FILES = 6
OPTIONS = SeparationOptions(Settings(["drums", "a person speaking"]), threads=1, device="cpu")
COMMAND = (
    "from audiosep_core.commands import main; main()",
    *("separate", "album", "-o", "out", "--threads", "1", "--device", "cpu"),
    *("-q", "drums", "-q", "a person speaking"),
)


@pytest.fixture(scope="module")
def address():
    """``host:port`` of a cluster with two cores."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    for number in range(FILES):
        audio = 0.1 * np.random.default_rng(number).standard_normal((12 * RATE, 2))
        soundfile.write(tmp_path / f"album/{number}.wav", audio, RATE)
    return tmp_path


def start(*arguments):
    line = [sys.executable, "-c", *COMMAND, *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate()
    return process.returncode, out, err


def records(folder):
    path = folder / "out" / JOURNAL
    lines = path.read_text().splitlines(True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def of(kind, folder):
    return [record for record in records(folder) if record["event"] == kind]


def wait_for(process, condition):
    """What ``condition`` gives once it holds; the process must not end before."""
    while not (found := condition()):
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(process.communicate())
    return found


def midway(folder):
    """Records of jobs whose stems are being written."""
    done = {record["key"] for record in of("done", folder)}
    return [
        record
        for record in of("started", folder)
        if record["key"] not in done
        and list((folder / "out" / record["stems"][0]["path"]).parent.glob(".*.part"))
    ]


def stems(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != JOURNAL
    }


def alone(folder):
    """The stems of a run without Ray."""
    jobs = plan([folder / "album"], folder / "alone").jobs
    with file_progress(len(jobs)) as progress:
        executor = InProcess(OPTIONS.separator(), OPTIONS, progress.file)
        assert all(outcome.error is None for outcome in separate_files(jobs, OPTIONS, executor))
    return stems(folder / "alone")


def test_a_worker_is_killed_midway(folder, address):
    process = start("--ray", address, "--json")
    victim = wait_for(process, lambda: midway(folder))[0]
    os.kill(int(victim["worker"].rpartition(":")[2]), signal.SIGKILL)
    code, out, err = finish(process)
    assert code == 0, err
    report = json.loads(out)
    assert [file["input"] for file in report["files"]] == [f"album/{n}.wav" for n in range(FILES)]
    assert report["failures"] == []
    expected = {f"album/{number}.wav": 1 for number in range(FILES)}
    assert Counter(record["input"] for record in of("done", folder)) == expected
    begun = [record for record in of("started", folder) if record["input"] == victim["input"]]
    assert len(begun) == 2 and len({record["worker"] for record in begun}) == 2
    assert Counter(record["input"] for record in of("started", folder)) == {
        **expected,
        victim["input"]: 2,
    }
    assert stems(folder / "out") == alone(folder)


def test_an_interrupted_run_goes_on(folder, address):
    process = start("--ray", address)
    wait_for(process, lambda: of("done", folder) and midway(folder))
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130, err
    assert "--resume goes on from there" in err and "Traceback" not in err
    first = of("done", folder)
    paths = [folder / "out" / stem["path"] for record in first for stem in record["stems"]]
    assert 0 < len(first) < FILES
    assert {path.name for path in paths} == {"drums.wav", "a-person-speaking.wav"}
    assert not list((folder / "out").rglob("*.part"))
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
    # Goes on without Ray: a run is a run, whoever does it.
    code, out, err = finish(start("--resume", "--json"))
    assert code == 0, err
    files = json.loads(out)["files"]
    assert [file["resumed"] for file in files].count(True) == len(first)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths] == before
    assert Counter(record["input"] for record in of("done", folder)) == {
        f"album/{number}.wav": 1 for number in range(FILES)
    }
    assert stems(folder / "out") == alone(folder)


def test_a_file_that_kills_every_worker_is_given_up(folder, address):
    jobs = plan([folder / "album"], folder / "out").jobs
    begun = Counter()

    def kill(job, worker):
        begun[job.source.name] += 1
        if job.source.name == "2.wav":
            os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)

    with (
        RayWorkers(address, OPTIONS, open_model()) as workers,
        closing(workers.execute(jobs, kill)) as running,
    ):
        outcomes = {outcome.job.source.name: outcome for outcome in running}
    failed = outcomes.pop("2.wav")
    assert "was given up" in str(failed.error) and failed.stems == []
    assert begun == {**dict.fromkeys(outcomes, 1), "2.wav": MOST_ATTEMPTS}
    assert all(outcome.error is None for outcome in outcomes.values())
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["0", "1", "3", "4", "5"]
    assert not list((folder / "out").rglob("*.part"))


def test_workers_with_another_model_are_refused(folder, address):
    jobs = plan([folder / "album"], folder / "out").jobs
    with RayWorkers(address, OPTIONS, open_model()) as workers:
        workers._hashes = ("other", "other")
        with pytest.raises(BundleError, match="is not the one here"):
            list(workers.execute(jobs, lambda job, worker: None))


def test_a_local_cluster_lasts_as_long_as_its_run(folder):
    code, out, err = finish(start("--ray", "local", "--json"))
    assert code == 0, err
    assert len(json.loads(out)["files"]) == FILES
    with Journal(folder / "out", OPTIONS, open_model()) as journal:
        jobs = plan([folder / "album"], folder / "out").jobs
        # Its journal names inputs by their full paths, from wherever they are given.
        assert all(journal.finished(job) for job in jobs)
