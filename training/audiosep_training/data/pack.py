"""A corpus packed for another machine: Opus in parts that can be sent, a table, the queries.

Reading it takes NumPy, PyTorch, soundfile and soxr alone: no text encoder, no other package.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from audiosep_core.atomic import replacing
from audiosep_training.corpus.store import SAMPLE_RATE as CORPUS_RATE
from audiosep_training.corpus.store import Clip, Corpus, quantise
from audiosep_training.data.mixed_batches import described
from audiosep_training.mixer.sounds import SAMPLE_RATE, Sound, SoundBank
from audiosep_training.mixer.vocabulary import Vocabulary
from audiosep_training.workers import worker_pool

TABLE, QUERIES = "table.json", "queries.npz"
#: A part holds no more than this.
PART_BYTES = 60 * 2**20
_PART = "part{:02d}.tar"
#: Opus knows few rates, this one best.
_OPUS_RATE = 48_000
#: Bits a second, and how hard libopus tries, 0…10: beyond this it takes four times as long.
_BIT_RATE, _EFFORT = 32_000, 5
#: Clips are joined into files of about this length, with silence between them: each file alone
#: would carry headers, and spread a codec's start into what follows.
_FILE_SECONDS, _GAP_SECONDS = 300.0, 0.05
#: Clips under this length or peak are of no use.
_SHORTEST_SECONDS, _LEAST_PEAK = 0.05, 60
_TAR_BLOCK = 512


class PackError(ValueError):
    """A packed corpus is missing, incomplete or damaged."""


def write_pack(
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: Path,
    report: Callable[[str], None] = lambda line: None,
    part_bytes: int = PART_BYTES,
) -> None:
    """Pack the training split of a corpus.

    Args:
        corpus: The sounds.
        vocabulary: Their queries.
        folder: Gets the parts, the table and the queries; made if missing.
        report: Called with lines on the progress.
        part_bytes: Largest size of a part.

    Raises:
        PackError: The corpus has no clip for training, one file exceeds a part, or ffmpeg is
            missing.
    """
    clips = sorted(
        (clip for clip in corpus.clips if clip.split == "train"),
        key=lambda clip: (clip.label, clip.offset),
    )
    if not clips:
        raise PackError("the corpus holds no clip for training: build it again")
    folder.mkdir(parents=True, exist_ok=True)
    # The table last and first: parts without one are no pack.
    for old in [folder / TABLE, *folder.glob(_PART.format(0).replace("00", "*"))]:
        old.unlink(missing_ok=True)
    rows: list[dict[str, object]] = []
    groups = list(_groups(clips))
    with worker_pool() as pool, _Parts(folder, part_bytes) as parts:
        joined = ([corpus.audio(clip) for clip in group] for group in groups)
        for number, (group, content) in enumerate(
            zip(groups, _in_order(pool, _encoded, joined), strict=True)
        ):
            name = f"{number:04d}.opus"
            parts.add(name, content)
            start = 0
            for clip in group:
                samples = _opus_samples(clip.samples)
                sound = described(clip)
                rows.append({"file": name, "start": start, "samples": samples, **vars(sound)})
                start += samples + int(_GAP_SECONDS * _OPUS_RATE)
            report(f"packed {number + 1} of {len(groups)} files")
    vocabulary.save(folder / QUERIES)
    with replacing(folder / TABLE) as partial:
        partial.write_text(json.dumps(rows), encoding="utf-8")


def read_pack(
    folders: Sequence[Path], device: torch.device, workers: int = 0
) -> tuple[SoundBank, Vocabulary]:
    """Decode a packed corpus.

    Args:
        folders: What :func:`write_pack` made; its files may have come in several folders.
        device: Where the sounds are to lie.
        workers: Processes that decode; 0 takes one a core.

    Raises:
        PackError: A file is missing or damaged.
    """
    tables, queries, parts = (
        sorted(path for folder in folders for path in folder.rglob(pattern))
        for pattern in (TABLE, QUERIES, "part*.tar")
    )
    if not tables or not queries:
        raise PackError(
            f"{', '.join(map(str, folders))}: no {TABLE} or no {QUERIES}; give the folder that "
            "'audiosep corpus pack' wrote"
        )
    try:
        rows = json.loads(tables[0].read_text(encoding="utf-8"))
        vocabulary = Vocabulary.load(queries[0])
    except (OSError, ValueError, KeyError) as error:
        raise PackError(f"{tables[0].parent} is damaged ({error}): pack the corpus again") from None
    cuts: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        cuts[row["file"]].append((number, row["start"], row["samples"]))
    clips: dict[int, NDArray[np.int16]] = {}
    met: set[str] = set()
    with worker_pool(workers or None) as pool:
        files = ((name, content, cuts[name]) for name, content in _files(parts) if name in cuts)
        for name, found in _in_order(pool, _decoded, files):
            met.add(name)
            clips.update(found)
    missing = sorted(set(cuts) - met)
    if missing:
        raise PackError(
            f"{len(missing)} of {len(cuts)} files are missing, {missing[0]} the first: give the "
            "folders of all parts"
        )
    kept = [
        number
        for number in sorted(clips)
        if len(clips[number]) > _SHORTEST_SECONDS * SAMPLE_RATE
        and np.abs(clips[number]).max() > _LEAST_PEAK
    ]
    sounds = [
        Sound(**{key: value for key, value in rows[number].items() if key in _FIELDS})
        for number in kept
    ]
    return SoundBank.of([clips[number] for number in kept], sounds, device), vocabulary


_FIELDS = frozenset(Sound.__dataclass_fields__)


class _Parts:
    """Tar files, a new one whenever the next file would make one too large; all or none."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._made: list[Path] = []
        self._size = 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()
        for path in self._made if failed else ():
            path.unlink()

    def add(self, name: str, content: bytes) -> None:
        # Header and padding of the file; a tar's end is padded to twenty blocks.
        size = len(content) + 2 * _TAR_BLOCK
        if size > self._most - 20 * _TAR_BLOCK:
            raise PackError(f"{name} has {size} bytes, more than a part may have")
        if self._tar is None or self._size + size > self._most - 20 * _TAR_BLOCK:
            if self._tar is not None:
                self._tar.close()
            self._made.append(self._folder / _PART.format(len(self._made)))
            self._tar = tarfile.open(self._made[-1], "w")  # noqa: SIM115
            self._size = 0
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))
        self._size += size


def _groups(clips: Iterable[Clip]) -> Iterator[list[Clip]]:
    group: list[Clip] = []
    seconds = 0.0
    for clip in clips:
        group.append(clip)
        seconds += clip.samples / CORPUS_RATE + _GAP_SECONDS
        if seconds >= _FILE_SECONDS:
            yield group
            group, seconds = [], 0.0
    if group:
        yield group


def _opus_samples(samples: int) -> int:
    return samples * _OPUS_RATE // CORPUS_RATE


def _encoded(audios: list[NDArray[np.float32]]) -> bytes:
    gap = np.zeros(int(_GAP_SECONDS * _OPUS_RATE), np.float32)
    pieces: list[NDArray[np.float32]] = []
    for audio in audios:
        samples = _opus_samples(len(audio))
        resampled = np.asarray(soxr.resample(audio, CORPUS_RATE, _OPUS_RATE), np.float32)
        pieces += [np.pad(resampled, (0, max(0, samples - len(resampled))))[:samples], gap]
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", str(_OPUS_RATE), "-ac", "1"]
    command += [
        "-i",
        "-",
        "-c:a",
        "libopus",
        "-b:a",
        str(_BIT_RATE),
        "-compression_level",
        str(_EFFORT),
    ]
    try:
        encoded = subprocess.run(
            [*command, "-f", "ogg", "-"],
            input=np.concatenate(pieces).astype("<f4").tobytes(),
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        raise PackError("ffmpeg is missing, which encodes the sounds: install it") from None
    except subprocess.CalledProcessError as error:
        problem = error.stderr.decode(errors="replace").strip()
        raise PackError(f"ffmpeg cannot encode Opus: {problem}") from None
    return encoded.stdout


def _files(parts: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for part in parts:
        try:
            with tarfile.open(part) as tar:
                for entry in tar:
                    content = tar.extractfile(entry)
                    if content is not None:
                        yield entry.name, content.read()
        except (OSError, tarfile.TarError) as error:
            raise PackError(f"{part} is damaged ({error}): send it again") from None


def _decoded(
    job: tuple[str, bytes, list[tuple[int, int, int]]],
) -> tuple[str, dict[int, NDArray[np.int16]]]:
    name, content, cuts = job
    audio, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return name, {
        number: quantise(
            np.asarray(soxr.resample(audio[start : start + samples], rate, SAMPLE_RATE), np.float32)
        )
        for number, start, samples in cuts
    }


def _in_order(pool: Executor, task: Callable, jobs: Iterable) -> Iterator:
    """As ``pool.map``, but with few jobs in memory at a time."""
    waiting: list = []
    for job in jobs:
        waiting.append(pool.submit(task, job))
        if len(waiting) >= 64:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
