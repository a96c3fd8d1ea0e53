"""Writes evaluation sets in the layout that they are read in, whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiosep_core.batch import check_writable
from audiosep_core.errors import AudioFileError, AudioPathError
from training.evaluation.items import Item, read_sound
from training.evaluation.layouts import RATE
from training.evaluation.recipes import RECIPES
from training.evaluation.released import JOINT, TARGET, Pair
from training.mixing import mix_at
from training.recordings import SEGMENT_SECONDS, Recording

Audio = NDArray[np.float32]
#: Quieter sounds than this (RMS) are as good as silence and have no level to match.
_SILENT = 1e-5


@dataclasses.dataclass
class Built:
    """What came of a build.

    Attributes:
        mixtures: How many were written.
        skipped: Why pairs were left out.
    """

    mixtures: int = 0
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
) -> Built:
    """Mix pairs at 0 dB, mono at 32 kHz, and write them as one of the released sets.

    Backgrounds that are longer than their target are cut at a random place, shorter ones repeat.
    Pairs of which a file is unreadable or silent are left out.

    Args:
        bench: A key of :data:`training.evaluation.recipes.RECIPES`.
        pairs: What to mix.
        folder: Must not exist, or be empty.
        rng: Where cuts are.

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
                sounds = _mixed(pair, rng)
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
            raise AudioFileError(f"nothing could be mixed: {reason}")
        table.write(partial / f"{bench}_eval.csv")
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


def _mixed(pair: Pair, rng: np.random.Generator) -> tuple[Audio, Audio, Audio]:
    target = _read(pair.target)
    background = np.concatenate([_read(recording) for recording in pair.backgrounds])
    start = int(rng.integers(max(0, len(background) - len(target)) + 1))
    background = background[start : start + len(target)]
    for recording, audio in ((pair.target, target), (pair.backgrounds[0], background)):
        if not audio.size or float(np.sqrt(np.mean(audio**2))) < _SILENT:
            raise AudioFileError(f"{recording.path} is silent")
    return mix_at(target, np.resize(background, len(target)), 0.0)


def _read(recording: Recording) -> Audio:
    audio = read_sound(recording.path, RATE)[0][0]
    if recording.segment is None:
        return audio
    samples = SEGMENT_SECONDS * RATE
    return audio[recording.segment * samples : (recording.segment + 1) * samples]


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
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise AudioPathError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)
            for path in made:
                with suppress(OSError):
                    path.rmdir()
