"""Builds the corpus from fetched packages: unpack, render, label, decode, split, store.

The same packages give byte-identical files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from audiosep_training.corpus.added import AddedFile
from audiosep_training.corpus.audio import UnreadableAudioError, bandwidth, duration, load
from audiosep_training.corpus.classes import SoundClass
from audiosep_training.corpus.duplicates import merge_copies
from audiosep_training.corpus.labels import LabelBook
from audiosep_training.corpus.packages import Package
from audiosep_training.corpus.render import render, rendered_classes
from audiosep_training.corpus.split import group_of, stable_hash, test_groups
from audiosep_training.corpus.store import SAMPLE_RATE, Corpus, CorpusWriter
from audiosep_training.corpus.unpack import AUDIO_SUFFIXES, unpack
from audiosep_training.workers import worker_pool

TRAIN_SPEECH_SECONDS = 125 * 60.0
TEST_SPEECH_SECONDS = 25 * 60.0
SPEAKER_SECONDS = 12 * 60.0
CLASS_SECONDS = 20 * 60.0
MUSIC_SECONDS = 40 * 60.0
TRAIN_PHRASES = {"fluid-soundfont-gm": 10, "musescore-general-soundfont-small": 5}
TEST_PHRASES = 3
# Single words are joined into passages: a training segment of one word is mostly silence.
_PASSAGE_SECONDS = 8.0
_PAUSE_SECONDS = 0.25
_SOUNDFONT_SUFFIXES = (".sf2", ".sf3")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A sound file with its label; ``split`` is None where it depends on the whole class."""

    package: Package
    path: str
    file: Path
    sound: SoundClass
    split: str | None

    @property
    def key(self) -> str:
        """What the labelling rules see."""
        return f"{self.package.name}/{self.path}"


@dataclasses.dataclass(frozen=True)
class DecodedCandidate:
    """A candidate (of a passage: the first of ``parts``) with its audio, (samples,) int16."""

    candidate: Candidate
    audio: NDArray[np.int16]
    parts: int = 1


def build_corpus(
    folder: Path,
    packages_folder: Path,
    packages: Sequence[Package],
    labels: LabelBook,
    report: Callable[[str], None] = lambda line: None,
    added: Sequence[AddedFile] = (),
) -> Corpus:
    """Build a corpus from packages that were fetched into ``packages_folder``.

    Args:
        folder: Where ``clips.csv`` and ``audio.i16`` go.
        packages_folder: Holds ``x/<package>``; unpacked and rendered sounds are kept there too.
        packages: What to take.
        labels: How to label.
        report: Called with lines on the progress.
        added: Files of manifests, for training and validation; the test split stays without.

    Raises:
        ValueError: A package is missing, an archive is damaged or no sound was found.
        RuntimeError: fluidsynth is needed and missing, or it fails.
    """
    candidates: list[Candidate] = []
    for package in packages:
        source = packages_folder / "x" / package.name
        if not source.is_dir():
            raise ValueError(f"{source} is missing: fetch the package first")
        if package.kind == "sounds":
            unpacked = packages_folder / "u" / package.name
            unpack(source, unpacked)
            candidates += _label(package, (source, unpacked), labels)
        else:
            report(f"rendering {package.name}")
            candidates += _rendered(package, packages_folder, labels)
    candidates = _within_limits(candidates, labels)
    recordings = _without_duplicates(
        DecodedCandidate(candidate, audio)
        for candidate, audio in _decoded(
            candidates, [(each.file, False) for each in candidates], report
        )
    )
    if not recordings:
        raise ValueError(f"{packages_folder} holds no sound that a rule names: check its packages")
    recordings = _join_speech(recordings, labels)
    with CorpusWriter(folder) as writer:
        _write(writer, recordings)
        _write_added(writer, added, report)
    return Corpus(folder)


def summary(corpus: Corpus) -> str:
    """A table of clips, minutes and classes by domain and split."""
    lines = [f"{'domain':<14}{'split':<12}{'clips':>7}{'minutes':>9}{'classes':>9}"]
    for domain in sorted({clip.domain for clip in corpus.clips}):
        for split in ("train", "validation", "test"):
            clips = [clip for clip in corpus.clips if (clip.domain, clip.split) == (domain, split)]
            minutes = sum(clip.samples for clip in clips) / SAMPLE_RATE / 60
            classes = len({clip.label for clip in clips})
            lines.append(f"{domain:<14}{split:<12}{len(clips):>7}{minutes:>9.1f}{classes:>9}")
    return "\n".join(lines)


def _label(package: Package, roots: Iterable[Path], labels: LabelBook) -> Iterator[Candidate]:
    rendered = rendered_classes()
    for root in roots:
        for file in sorted(root.rglob("*")):
            if file.suffix.lower() not in AUDIO_SUFFIXES or file.is_symlink():
                continue
            path = file.relative_to(root).as_posix()
            key = f"{package.name}/{path}"
            sound = labels.classify(key)
            if sound is None:
                continue
            split = None
            if sound.domain == "speech":
                split = "test" if labels.is_test_speech(key) else "train"
            elif sound.domain == "music" or (
                sound.domain == "instruments" and sound.name in rendered
            ):
                split = "train"
            yield Candidate(package, path, file, sound, split)


def _rendered(package: Package, folder: Path, labels: LabelBook) -> Iterator[Candidate]:
    fonts = [
        path
        for path in sorted((folder / "x" / package.name).rglob("*"))
        if path.suffix in _SOUNDFONT_SUFFIXES and not path.is_symlink()
    ]
    if not fonts:
        raise ValueError(f"{package.name} holds no soundfont: check packages.toml")
    split = "test" if package.kind.startswith("held-out") else "train"
    phrases = TEST_PHRASES if split == "test" else TRAIN_PHRASES[package.name]
    target = folder / "rendered" / package.name
    for label, file in render(fonts[0], target, phrases, seed=package.name):
        path = f"rendered/{file.relative_to(target).as_posix()}"
        yield Candidate(package, path, file, labels.named(label), split)


def _within_limits(candidates: Sequence[Candidate], labels: LabelBook) -> list[Candidate]:
    """Cap each class; speech takes turns among its sources so that no speaker prevails."""
    pools: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        held_out = candidate.sound.domain == "speech" and candidate.split == "test"
        pools[candidate.sound.name, "test" if held_out else ""].append(candidate)
    kept: list[Candidate] = []
    for (_, split), pool in pools.items():
        pool = sorted(pool, key=lambda candidate: stable_hash(candidate.key))
        limit = CLASS_SECONDS
        if pool[0].sound.domain == "speech":
            limit = TEST_SPEECH_SECONDS if split == "test" else TRAIN_SPEECH_SECONDS
            pool = _in_turns(pool, labels)
        elif pool[0].sound.domain == "music":
            limit = MUSIC_SECONDS
        kept += _first_seconds(pool, limit)
    return sorted(kept, key=lambda candidate: (candidate.sound.name, candidate.key))


def _first_seconds(candidates: Iterable[Candidate], limit: float) -> list[Candidate]:
    kept: list[Candidate] = []
    seconds = 0.0
    for candidate in candidates:
        if seconds >= limit:
            break
        kept.append(candidate)
        seconds += duration(candidate.file)
    return kept


def _in_turns(pool: Iterable[Candidate], labels: LabelBook) -> list[Candidate]:
    sources: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in pool:
        sources[labels.speech_source(candidate.key)].append(candidate)
    for name, source in sources.items():
        sources[name] = _first_seconds(source, SPEAKER_SECONDS)
    rounds = itertools.zip_longest(*(sources[name] for name in sorted(sources)))
    return [candidate for turn in rounds for candidate in turn if candidate is not None]


_Described = TypeVar("_Described")


def _decoded(
    described: Sequence[_Described],
    files: Sequence[tuple[Path, bool]],
    report: Callable[[str], None],
) -> Iterator[tuple[_Described, NDArray[np.int16]]]:
    """What stands for a file (and whether it is aligned), with its audio, where it holds any."""
    dropped: Counter[str] = Counter()
    with worker_pool() as pool:
        results = zip(described, pool.map(_load, files, chunksize=32), strict=True)
        for number, (each, audio) in enumerate(results, 1):
            if isinstance(audio, str):
                dropped[audio] += 1
            else:
                yield each, audio
            if number % 1000 == 0 or number == len(files):
                report(f"decoded {number} of {len(files)} files")
    for reason, count in sorted(dropped.items()):
        report(f"left out {count} {reason} files")


def _load(file: tuple[Path, bool]) -> NDArray[np.int16] | str:
    try:
        audio = load(*file)
    except UnreadableAudioError:
        return "unreadable"
    return "too short or silent" if audio is None else audio


def _without_duplicates(recordings: Iterable[DecodedCandidate]) -> list[DecodedCandidate]:
    """The first of all recordings with the same samples."""
    first: dict[bytes, DecodedCandidate] = {}
    for recording in recordings:
        first.setdefault(hashlib.sha256(recording.audio.tobytes()).digest(), recording)
    return list(first.values())


def _join_speech(
    recordings: Iterable[DecodedCandidate], labels: LabelBook
) -> list[DecodedCandidate]:
    """Join short speech of one source, in a stable random order, into longer passages."""
    others: list[DecodedCandidate] = []
    waiting: dict[str, list[DecodedCandidate]] = defaultdict(list)
    for recording in recordings:
        if recording.candidate.sound.domain == "speech":
            waiting[labels.speech_source(recording.candidate.key)].append(recording)
        else:
            others.append(recording)
    for name in sorted(waiting):
        queue = sorted(waiting[name], key=lambda each: stable_hash(each.candidate.key))
        passage: list[DecodedCandidate] = []
        seconds = 0.0
        for recording in queue:
            passage.append(recording)
            seconds += len(recording.audio) / SAMPLE_RATE + _PAUSE_SECONDS
            if seconds >= _PASSAGE_SECONDS:
                others.append(_passage(passage))
                passage, seconds = [], 0.0
        if passage:
            others.append(_passage(passage))
    return others


def _passage(parts: Sequence[DecodedCandidate]) -> DecodedCandidate:
    pause = np.zeros(int(_PAUSE_SECONDS * SAMPLE_RATE), np.int16)
    pieces = [piece for part in parts for piece in (part.audio, pause)][:-1]
    return DecodedCandidate(parts[0].candidate, np.concatenate(pieces), len(parts))


def _write(writer: CorpusWriter, recordings: Iterable[DecodedCandidate]) -> None:
    classes: dict[str, list[DecodedCandidate]] = defaultdict(list)
    for recording in recordings:
        classes[recording.candidate.sound.name].append(recording)
    for name in sorted(classes):
        groups = _groups([each for each in classes[name] if each.candidate.split is None])
        held_out = test_groups(name, list(groups.values()))
        for recording in sorted(classes[name], key=lambda each: each.candidate.key):
            candidate = recording.candidate
            split = candidate.split or ("test" if groups[candidate.key] in held_out else "train")
            more = f" and {recording.parts - 1} more" if recording.parts > 1 else ""
            writer.add(
                recording.audio,
                package=candidate.package.name,
                path=candidate.path + more,
                label=name,
                domain=candidate.sound.domain,
                split=split,
                licence=candidate.package.licence,
                bandwidth=bandwidth(candidate.file, candidate.sound.domain),
            )


def _write_added(
    writer: CorpusWriter, added: Sequence[AddedFile], report: Callable[[str], None]
) -> None:
    ordered = sorted(added, key=lambda each: (each.source, each.path))
    for each, audio in _decoded(
        ordered, [(each.file, bool(each.together)) for each in ordered], report
    ):
        writer.add(
            audio,
            package=each.source,
            path=each.path,
            label=each.label,
            domain=each.domain,
            split=each.split,
            licence=each.licence,
            weight=each.weight,
            bandwidth=each.bandwidth or bandwidth(each.file, each.domain),
            together=each.together,
            caption=each.caption,
        )


def _groups(recordings: Sequence[DecodedCandidate]) -> dict[str, str]:
    """The group of each recording by its key: what must not be on both sides of the split."""
    candidates = [recording.candidate for recording in recordings]
    names = [group_of(candidate.package.name, candidate.path) for candidate in candidates]
    merged = merge_copies(names, [recording.audio for recording in recordings])
    return dict(zip((candidate.key for candidate in candidates), merged, strict=True))
