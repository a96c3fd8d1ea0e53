"""Runs on Ray: one actor for each core or GPU of a cluster, each with the model loaded once.

The process that leads the run hands every idle actor one job at a time and keeps the journal.
A job whose actor dies is done again by another; its files appear under their names only when
they are whole, so nothing of the first attempt can stay. Inputs and outputs are files: the
folders must lie at the same paths on all machines, and audiosep be installed on each.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import socket
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audiosep_core.errors import AudioFileError, AudioSepError, BundleError, DeviceError, UsageError
from audiosep_core.extras import needed_for
from audiosep_core.files.catalogue import Job
from audiosep_core.files.job import Outcome, SeparationOptions, attempt, clear_partial
from audiosep_core.files.runs import Started, this_worker
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.installed import installed_models

#: A file that this many workers died on is given up.
MOST_ATTEMPTS = 2
#: So many workers in a row that die before they are ready end the run.
_MOST_STARTS = 3
_CONNECT_SECONDS = 10.0
_STOP_SECONDS = 10.0
_LETTING_GO_SECONDS = 0.05
# Ray's least; jobs and outcomes are small, audio never passes through Ray.
_OBJECT_STORE_BYTES = 80 << 20


class Worker:
    """What runs in an actor.

    Args:
        options: What to make of every file.
        hashes: Model and text encoder that the leading process has.
    """

    def __init__(self, options: SeparationOptions, hashes: tuple[str, str]) -> None:
        self._options = options
        self._hashes = hashes

    def load(self) -> str:
        """Load the model; returns this process as ``host:pid``.

        Raises:
            BundleError: The model cannot be loaded, or is not that of the leading process.
            DeviceError: The device cannot be had.
        """
        self._separator = self._options.separator()
        if model_hashes(self._separator.bundle) != self._hashes:
            raise BundleError(
                f"the model {str(self._options.model)!r} on {this_worker()} is not the one here; "
                "install the same version of audiosep and its models on all machines"
            )
        return this_worker()

    def attempt(self, job: Job) -> Outcome:
        """Do one job."""
        return attempt(self._separator, job, self._options)


@dataclasses.dataclass
class _Actor:
    """An actor, what it is busy with (None: loading), and its name once it has loaded."""

    handle: Any
    job: Job | None = None
    name: str = ""


class RayWorkers:
    """Does jobs on a Ray cluster; use as a context manager.

    Args:
        address: "local" for a cluster on this machine alone that ends with the run, "auto" for
            the one this machine belongs to, ``host:port``, or ``ray://host:port`` of its client
            server.
        options: What to make of every file. With 0 threads a worker takes one core.
        bundle: The model that the options name.

    Raises:
        UsageError: Ray is not installed, or no cluster answers there.
    """

    def __init__(self, address: str, options: SeparationOptions, bundle: Bundle) -> None:
        self._options = dataclasses.replace(
            options,
            model=_absolute_model(options.model),
            packs=tuple(pack.absolute() for pack in options.packs),
            threads=options.threads or 1,
        )
        self._hashes = model_hashes(bundle)
        self._ray = connect(address)

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def execute(self, jobs: Sequence[Job], started: Started) -> Generator[Outcome, None, None]:
        """Do jobs, as many at a time as the cluster has cores or GPUs for.

        Raises:
            DeviceError: "cuda" was asked for, and no worker can have it.
            BundleError: A worker cannot load the model.
            UsageError: The cluster has no core to give, or workers die before they are ready.
        """
        ray = self._ray
        count, resources = workers_of(ray.cluster_resources(), self._options)
        remote = ray.remote(**resources)(Worker)
        queue = deque(jobs)
        attempts: dict[Path, int] = {}
        starts = 0
        busy: dict[Any, _Actor] = {}

        def start() -> None:
            actor = _Actor(remote.remote(self._options, self._hashes))
            busy[actor.handle.load.remote()] = actor

        def give(actor: _Actor) -> None:
            actor.job = queue.popleft()
            started(actor.job, actor.name)
            busy[actor.handle.attempt.remote(_absolute(actor.job))] = actor

        for _ in range(min(count, len(queue))):
            start()
        try:
            while queue or any(actor.job for actor in busy.values()):
                [reference], _ = ray.wait(list(busy), num_returns=1)
                actor = busy.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from None
                except ray.exceptions.RayError as error:
                    ray.kill(actor.handle)
                    if actor.job is None:
                        starts += 1
                        if starts == _MOST_STARTS:
                            raise UsageError(_no_start(error)) from None
                    else:
                        clear_partial(actor.job, self._options)
                        attempts[actor.job.folder] = attempts.get(actor.job.folder, 0) + 1
                        if attempts[actor.job.folder] < MOST_ATTEMPTS:
                            queue.appendleft(actor.job)
                        else:
                            yield Outcome(actor.job, error=_given_up(actor.job))
                    if queue:
                        start()
                    continue
                if actor.job is None:
                    actor.name, starts = result, 0
                else:
                    yield _local(result, actor.job)
                    actor.job = None
                if queue:
                    give(actor)
        finally:
            self._stop(busy)

    def _stop(self, busy: Mapping[Any, _Actor]) -> None:
        """End the actors that are still at work, and remove what they leave."""
        for actor in busy.values():
            self._ray.kill(actor.handle)
        if busy:
            self._ray.wait(list(busy), num_returns=len(busy), timeout=_STOP_SECONDS)
        until = time.monotonic() + _STOP_SECONDS
        for actor in busy.values():
            # Ray counts an actor as dead before its process is gone.
            while actor.job is not None and not clear_partial(actor.job, self._options):
                if time.monotonic() > until:
                    break
                time.sleep(_LETTING_GO_SECONDS)


def connect(address: str) -> Any:
    """Join a Ray cluster, or start a local one; returns the module ``ray``.

    Raises:
        UsageError: Ray is not installed, or no cluster answers there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needed_for("--ray", "ray"):
        ray: Any = importlib.import_module("ray")
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        arguments |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        if address not in ("local", "auto"):
            # Ray itself would go on trying for minutes.
            url = urlsplit(address if "://" in address else f"//{address}")
            socket.create_connection((url.hostname, url.port), _CONNECT_SECONDS).close()
        ray.init(address=address, **arguments)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"no Ray cluster can be used at {address!r} ({reason}); start one with 'ray start "
            "--head' and give its host:port, or use --ray local"
        ) from None
    return ray


def workers_of(
    resources: Mapping[str, float], options: SeparationOptions
) -> tuple[int, dict[str, float]]:
    """How many workers a cluster has room for, and what each one asks for.

    On "auto" a cluster with GPUs gets one worker for each of them.

    Raises:
        DeviceError: "cuda" was asked for, and the cluster has no GPU.
        UsageError: It has fewer cores than one worker needs.
    """
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if options.device == "cuda" and not gpus:
        raise DeviceError("this Ray cluster has no GPU; use --device cpu, or add a machine")
    if options.device != "cpu" and gpus:
        return gpus, {"num_gpus": 1, "num_cpus": 0}
    if cores < options.threads:
        raise UsageError(
            f"this Ray cluster has {cores} cores, and a worker was given {options.threads} "
            "threads; lower --threads, or add a machine"
        )
    return cores // options.threads, {"num_cpus": options.threads}


def model_hashes(bundle: Bundle) -> tuple[str, str]:
    """What tells whether two machines have the same model."""
    return bundle.model_hash, bundle.encoder_hash


def _absolute_model(model: str | Path) -> str | Path:
    return model if str(model) in installed_models() else Path(model).absolute()


def _absolute(job: Job) -> Job:
    """A job for a process with another working folder."""
    content = job.content.absolute() if job.content is not None else None
    return Job(job.source.absolute(), job.folder.absolute(), content)


def _local(outcome: Outcome, job: Job) -> Outcome:
    """A worker's outcome with the paths as they were given here."""
    stems = [dataclasses.replace(stem, path=job.folder / stem.path.name) for stem in outcome.stems]
    return dataclasses.replace(outcome, job=job, stems=stems)


def _cause(error: Any) -> BaseException:
    cause = error.cause
    return cause if isinstance(cause, AudioSepError) else error


def _given_up(job: Job) -> AudioFileError:
    return AudioFileError(
        f"{job.source} was given up: {MOST_ATTEMPTS} workers died on it (out of memory, or a "
        "fault of a decoder); separate it alone, or leave it out"
    )


def _no_start(error: Exception) -> str:
    reason = str(error).strip().splitlines()
    return (
        f"{_MOST_STARTS} workers in a row could not start ({reason[-1] if reason else error!r}); "
        "install the same version of audiosep on all machines of the cluster"
    )
