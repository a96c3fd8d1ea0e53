"""Writes evaluation sets in the layout that they are read in, whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile

from audiosep_core.atomic import replacing_folder
from audiosep_core.errors import AudioFileError, AudioPathError
from audiosep_core.files.items import Audio, Item
from audiosep_core.files.job import check_writable
from audiosep_training.datasets.recordings import JOINT
from audiosep_training.evaluation.sets.layouts import RATE
from audiosep_training.evaluation.sets.mixtures import Mix, mix_energy
from audiosep_training.evaluation.sets.recipes import RECIPES
from audiosep_training.evaluation.sets.released import TARGET, Pair

#: File in a set that names the clips that were missing.
MISSING = "missing.txt"


@dataclasses.dataclass
class Built:
    """What came of a build.

    Attributes:
        mixtures: How many were written.
        skipped: Why pairs were left out.
        missing: How many clips were not there.
    """

    mixtures: int = 0
    missing: int = 0
    skipped: list[str] = dataclasses.field(default_factory=list)


class _Table:
    """Rows of a set's table, written at the end."""

    def __init__(self, columns: Iterable[str]) -> None:
        self.columns = list(columns)
        self.rows: list[list[str]] = []

    def write(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(self.rows)


def build_pairs(
    bench: str,
    pairs: Iterable[Pair],
    folder: Path,
    rng: np.random.Generator,
    missing: Collection[str] = (),
    mix: Mix = mix_energy,
) -> Built:
    """Mix pairs, mono at 32 kHz, and write them as one of the released sets.

    Pairs of which a file is unreadable or silent are left out, and what is missing is listed in
    :data:`MISSING`.

    Args:
        bench: A key of :data:`audiosep_training.evaluation.sets.recipes.RECIPES`.
        pairs: What to mix.
        folder: Must not exist, or be empty.
        rng: Where cuts are.
        missing: Names of clips that are not there; read when all pairs are mixed.
        mix: How; see :func:`audiosep_training.evaluation.sets.mixtures.mixing_of`.

    Raises:
        AudioPathError: The folder is not empty or cannot be written to.
        AudioFileError: The disk is full.
    """
    built = Built()
    recipe = RECIPES[bench]
    if bench == "vggsound":
        table = _Table(["file_id", "mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text"])
    else:
        table = _Table(["idx", *recipe.columns, TARGET, *recipe.backgrounds])
    counts: Counter[str] = Counter()
    with _new_set(folder) as partial:
        for pair in pairs:
            try:
                sounds = mix(pair, rng)
            except AudioFileError as error:
                built.skipped.append(str(error))
            else:
                paths, row = _places(bench, pair, built.mixtures, counts)
                for name, audio in zip(paths, sounds, strict=False):
                    _write(partial / name, audio)
                table.rows.append(row)
                built.mixtures += 1
        if not built.mixtures:
            reason = built.skipped[0] if built.skipped else "the corpus gives no pairs"
            if missing and not built.skipped:
                reason = f"each mixture lacks one of {len(missing)} clips that are not there"
            raise AudioFileError(f"nothing could be mixed: {reason}")
        table.write(partial / f"{bench}_eval.csv")
        built.missing = len(missing)
        if missing:
            (partial / MISSING).write_text("\n".join(missing) + "\n", encoding="utf-8")
    return built


def build_items(items: Iterable[Item], folder: Path) -> Built:
    """Write items as folders with ``mixture.wav``, ``target.wav``, ``query.txt``, ``group.txt``.

    Raises:
        AudioPathError: The folder is not empty or cannot be written to.
        AudioFileError: The disk is full.
    """
    built = Built()
    with _new_set(folder) as partial:
        for item in items:
            sounds = item.sounds.load()
            for name, audio in (("mixture", sounds.mixture), ("target", sounds.target)):
                _write(partial / item.id / f"{name}.wav", audio, sounds.sample_rate)
            for name, text in (("query", item.query), ("group", item.group)):
                if text:
                    (partial / item.id / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
            built.mixtures += 1
    return built


def _places(
    bench: str, pair: Pair, number: int, counts: Counter[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Where mixture, target (and background) go, and the row that says so."""
    if bench == "vggsound":
        other = pair.backgrounds[0]
        name = JOINT.join(Path(side.name).stem for side in (pair.target, other))
        paths = tuple(f"data/{kind}_wav/{name}.wav" for kind in ("mix", "s0", "s1"))
        row = [name, paths[0], paths[1], pair.query, paths[2], " ".join(other.labels)]
        return paths, row
    if bench == "audioset":
        class_id = pair.fields["class_id"]
        stem = f"class_id={class_id}/class_id={class_id},index={counts[class_id]:03d}"
        counts[class_id] += 1
        paths = (f"{stem},mixture.wav", f"{stem},source.wav")
        # The released table names the mixture where others name the background.
        return paths, [class_id, pair.query, paths[1], paths[0]]
    paths = (f"mixture-{number}.wav", f"segment-{number}.wav")
    fields = [pair.fields.get(column, pair.query) for column in RECIPES[bench].columns]
    names = [recording.name for recording in (pair.target, *pair.backgrounds)]
    return paths, [str(number), *fields, *names]


def _write(path: Path, audio: Audio, sample_rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        soundfile.write(path, audio.T, sample_rate, subtype="FLOAT")
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioFileError(f"{path} cannot be written: {error}") from None


@contextmanager
def _new_set(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is wanted, which takes its place when all is done."""
    if folder.is_dir() and any(folder.iterdir()):
        raise AudioPathError(f"{folder} is not empty; choose another folder for the set")
    made = check_writable(folder)
    try:
        with replacing_folder(folder) as partial:
            yield partial
    except BaseException as error:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise AudioPathError(f"{folder} cannot be written: {reason}") from None
        raise
