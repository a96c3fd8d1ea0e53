"""A benchmark that anyone can repeat: real recordings under open licences, mixed at 0 dB.

``open-bench.csv`` beside this module names the files, the pieces and the queries; they are of the
recordings that training leaves out (:mod:`audiosep_training.corpus.added`), and their bytes are
known, so that the same figures come of the same folder anywhere. :func:`draw` made it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, MetadataError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.items import Item, MixtureAndTarget, resample
from audiosep_training.corpus.added import AddedFile, read_manifest
from audiosep_training.corpus.classes import load_classes
from audiosep_training.data.mixing import mix_at
from audiosep_training.datasets.tables import TableRow, read_table
from audiosep_training.evaluation.sets.layouts import SetOptions

#: The mixtures.
TABLE = Path(__file__).with_name("open-bench.csv")
RATE = 48_000
SECONDS = 4.0
COUNT = 120
_COLUMNS = (
    "id", "domain", "query", "target", "target_start", "target_sha256", "background",
    "background_start", "background_sha256",
)  # fmt: skip
_DOMAINS = ("speech", "instruments", "drums", "sound events")
_SILENT = 3e-3
_MOST_TRIES = 10_000
_HASH_CHARACTERS = 16


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of a file.

    Attributes:
        path: The file.
        start: Where it begins, in seconds.
        sha256: The first characters of the file's hash.
    """

    path: Path
    start: float
    sha256: str

    def read(self) -> NDArray[np.float32]:
        """(samples,) at :data:`RATE`, mono, with silence where the file has ended.

        Raises:
            AudioFileError: The file is missing, damaged, or another one.
        """
        try:
            found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            raise AudioFileError(f"{self.path} cannot be read ({error.strerror})") from None
        if not found.startswith(self.sha256):
            raise AudioFileError(f"{self.path} is another recording than the benchmark's")
        with AudioReader(self.path) as reader:
            rate = reader.sample_rate
            audio = reader.segment(round(self.start * rate), round(SECONDS * rate))
        mono = resample(audio.mean(0, keepdims=True), rate, RATE)[0]
        samples = round(SECONDS * RATE)
        return np.pad(mono, (0, max(0, samples - len(mono))))[:samples]


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A mixture of two pieces, which are read when they are needed."""

    target: Piece
    background: Piece

    def load(self) -> MixtureAndTarget:
        """Mix them at 0 dB.

        Raises:
            AudioFileError: A file is missing, damaged, or another one.
        """
        mixture, target, _ = mix_at(self.target.read(), self.background.read(), 0.0)
        return MixtureAndTarget(mixture[None], target[None], RATE)

    def fingerprint(self) -> str:
        """Changes with the files and the places in them."""
        text = repr([(p.sha256, p.start) for p in (self.target, self.background)])
        return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]


def open_bench(options: SetOptions) -> Iterator[Item]:
    """The mixtures of the table, of files in ``options.data``, grouped by the target's domain."""
    for row in read_table(options.metadata or TABLE, _COLUMNS):
        parts = [_piece(row, options.data, part) for part in ("target", "background")]
        yield Item(row.text("id"), row.text("domain"), row.text("query"), Pieces(*parts))


def _piece(row: TableRow, folder: Path, part: str) -> Piece:
    path, start = folder / row.text(part), row.seconds(f"{part}_start")
    return Piece(path, start, row.text(f"{part}_sha256"))


def draw(folder: Path, count: int = COUNT, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of a table like ``open-bench.csv``.

    Every domain is a target's equally often, and every class of it; a background is of another
    class that cannot be mistaken for the target's. Takes of one sound and voices of one speaker
    are never on both sides of the split, so that nothing like it was trained on.

    Args:
        folder: With ``manifest.csv``, as 'audiosep corpus build --add' takes it.
        count: Number of mixtures.
        seed: Of the draw.

    Raises:
        ValueError: The manifest is damaged.
        MetadataError: Too little of it is kept from training.
    """
    kept: dict[str, dict[str, list[AddedFile]]] = defaultdict(lambda: defaultdict(list))
    for file in read_manifest(folder):
        if file.split == "validation" and file.domain in _DOMAINS and file.label in load_classes():
            kept[file.domain][file.label].append(file)
    if len(kept) < 2:
        raise MetadataError(f"{folder}: the recordings that training leaves out are too few")
    rng = np.random.default_rng(seed)
    domains = [domain for domain in _DOMAINS if domain in kept]
    for number in range(count):
        domain = domains[number % len(domains)]
        target, row = _drawn(kept[domain], (), folder, rng)
        sound = load_classes().named(target.label)
        barred = (target.label, *sound.confusable)
        possible = [name for name in domains if kept[name].keys() - set(barred)]
        _, other = _drawn(kept[possible[int(rng.integers(len(possible)))]], barred, folder, rng)
        phrase = sound.phrases[int(rng.integers(len(sound.phrases)))]
        yield {
            "id": f"{number:03d}",
            "domain": domain,
            "query": phrase,
            **{f"target{field}": value for field, value in row.items()},
            **{f"background{field}": value for field, value in other.items()},
        }


def write_table(rows: Iterable[dict[str, str]], path: Path) -> None:
    """Write what :func:`draw` gives."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _drawn(
    classes: dict[str, list[AddedFile]],
    barred: Iterable[str],
    folder: Path,
    rng: np.random.Generator,
) -> tuple[AddedFile, dict[str, str]]:
    """A piece that is not silent, of none of the barred classes."""
    labels = sorted(classes.keys() - set(barred))
    for _ in range(_MOST_TRIES if labels else 0):
        files = classes[labels[int(rng.integers(len(labels)))]]
        file = files[int(rng.integers(len(files)))]
        with AudioReader(file.file) as reader:
            length = reader.frames / reader.sample_rate
        start = round(float(rng.uniform(0, max(0.0, length - SECONDS))), 2)
        content = file.file.read_bytes()
        piece = Piece(file.file, start, hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS])
        if float(np.sqrt(np.mean(piece.read() ** 2))) > _SILENT:
            path = file.file.relative_to(folder).as_posix()
            return file, {"": path, "_start": f"{start:g}", "_sha256": piece.sha256}
    raise MetadataError(f"{folder}: too few classes are kept from training to draw mixtures of")
