"""The journal of a run: which files are done, so that an interrupted run can go on.

``.audiosep-run.jsonl`` in the output folder is only ever appended to, one JSON object a line:
``started`` before a file is worked on, then ``done`` or ``failed``. A line that was
cut off, or that is no record, is passed over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from audiosep_core.errors import AudioPathError
from audiosep_core.files.catalogue import JOURNAL, Job
from audiosep_core.files.job import Outcome, SeparationOptions, WrittenStem, check_writable
from audiosep_core.model.bundle import Bundle, sha256
from audiosep_core.separator import stem_queries
from audiosep_core.settings import Settings

_LEVELS = ("peak", "clipped", "lossy")


class Journal:
    """Remembers jobs by what decides their stems; only the process that leads a run writes it.

    A job is known by its input's path, size and time of change, the settings, the same of files
    that ask in place of words, the model, the packs and the format. It is done if its last record
    says so, no later record of another job names one of its stems, and these are there at their
    full size.

    Use as a context manager. Several runs may share an output folder.

    Args:
        output: The output folder; made if it is missing.
        options: What is made of every file.
        bundle: The model that the options name.

    Raises:
        AudioPathError: The journal cannot be written, or a pack cannot be read.
    """

    def __init__(self, output: Path, options: SeparationOptions, bundle: Bundle) -> None:
        self.path = output / JOURNAL
        self._output = output
        self._options = options
        decisive: dict[str, Any] = {
            "queries": stem_queries(options.settings),
            "residual": options.with_residual,
            "format": options.format,
            # Journals of runs that knew no partial files stay good.
            **({"partial": True} if options.partial else {}),
            "model": [bundle.model_hash, bundle.encoder_hash],
            "packs": [sha256(pack) for pack in options.packs],
        }
        examples = [query.like or query.video for query in options.settings.queries]
        if any(examples):
            decisive["examples"] = [_content(Path(file)) if file else [] for file in examples]
        if options.settings != Settings(stem_queries(options.settings)):
            decisive["settings"] = dataclasses.asdict(options.settings)
        self._made_with = json.dumps(decisive, sort_keys=True)
        self._last: dict[str, dict[str, Any]] = {}
        self._makers: dict[str, str] = {}
        # An input that changes while it is worked on is not the one that was begun with.
        self._begun: dict[Path, str] = {}
        check_writable(output)
        try:
            self._file = self.path.open("a+b")
            self._file.seek(0)
            line = b"\n"
            for line in self._file:
                self._read(line)
            if not line.endswith(b"\n"):
                self._file.write(b"\n")
                self._file.flush()
        except OSError as error:
            raise AudioPathError(f"{self.path} cannot be opened: {error.strerror}") from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def finished(self, job: Job) -> Outcome | None:
        """What became of a job that is done, or None."""
        record = self._last.get(self._key(job), {})
        if record.get("event") != "done":
            return None
        stems = []
        for values in record["stems"]:
            path = self._output / values["path"]
            if self._makers[values["path"]] != record["key"]:
                return None
            if not path.is_file() or path.stat().st_size != values["bytes"]:
                return None
            stems.append(WrittenStem(values["query"], path, *(values[name] for name in _LEVELS)))
        return Outcome(job, stems, resumed=True, damage=record.get("damage", ""))

    def unfinished(self, job: Job) -> bool:
        """Whether a run that was stopped, or failed, began to write this job's stems."""
        key = self._key(job)
        return self._last.get(key, {}).get("event") in ("started", "failed") and all(
            self._makers.get(self._relative(path)) == key
            for path in self._options.stem_paths(job).values()
        )

    def started(self, job: Job, worker: str) -> None:
        """Record that a worker, named by its machine and process, begins with a job."""
        paths = self._options.stem_paths(job).values()
        stems = [{"path": self._relative(path)} for path in paths]
        self._begun[job.folder] = self._key(job)
        self._append(job, "started", worker=worker, stems=stems)

    def ended(self, outcome: Outcome) -> None:
        """Record what became of a job."""
        if outcome.error is not None:
            self._append(outcome.job, "failed", error=str(outcome.error))
            return
        stems = [
            {
                "query": stem.query,
                "path": self._relative(stem.path),
                "bytes": stem.path.stat().st_size,
                **{name: getattr(stem, name) for name in _LEVELS},
            }
            for stem in outcome.stems
        ]
        damage = {"damage": outcome.damage} if outcome.damage else {}
        self._append(outcome.job, "done", stems=stems, **damage)

    def _append(self, job: Job, event: str, **values: object) -> None:
        record = {
            "event": event,
            "key": self._begun[job.folder],
            "input": str(job.source),
            **values,
        }
        line = json.dumps(record).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise AudioPathError(f"{self.path} cannot be written: {error.strerror}") from None
        self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            key, stems = record["key"], record.get("stems", [])
            self._makers.update({stem["path"]: key for stem in stems})
            self._last[key] = record
        except (ValueError, KeyError, TypeError, AttributeError):
            return

    def _key(self, job: Job) -> str:
        source = os.path.abspath(job.source)  # noqa: PTH100
        parts = [source, _content(job.source), self._made_with]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._output).as_posix()


def _content(path: Path) -> list[int]:
    """What tells that a file was changed: its size and the time of that; empty if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
