"""The stored corpus: a table of clips and one file with all their samples.

``clips.csv`` has one row a clip; ``audio.i16`` holds the clips one after another, mono, 32 kHz,
signed 16-bit little-endian.  The queries of a class come from ``classes.toml``; a class that is
not there is asked for by its name and by the captions of its clips.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from audiosep_core.atomic import Partial, replacing
from audiosep_training.corpus.classes import SoundClass, load_classes

SAMPLE_RATE = 32000
CLIPS_FILE = "clips.csv"
AUDIO_FILE = "audio.i16"
_NEEDED = ("package", "path", "class", "domain", "split", "offset", "samples", "licence")
_COLUMNS = (*_NEEDED, "weight", "bandwidth", "together", "caption")
_FULL_SCALE = 32767.0


@dataclasses.dataclass(frozen=True)
class Clip:
    """One recording of a corpus.

    Attributes:
        package: Debian package, or other source, that it comes from.
        path: Where it lies there.
        label: Its class.
        domain: "speech", "instruments", "drums", "sound events" or "music".
        split: "train", "validation" or "test".
        offset: First sample in the audio file.
        samples: Length at 32 kHz.
        licence: Licence that the source states.
        weight: How often it is drawn, beside others of its class: 1, or less where its label is
            in doubt.
        bandwidth: In Hz, what a narrow-band source holds; 0 for all others.
        together: What aligned clips, the stems of one song, have in common; empty for others.
        caption: A sentence on it; empty where its class says all.
    """

    package: str
    path: str
    label: str
    domain: str
    split: str
    offset: int
    samples: int
    licence: str
    weight: float = 1.0
    bandwidth: float = 0.0
    together: str = ""
    caption: str = ""


class Corpus:
    """Reads a stored corpus.

    Args:
        folder: What ``audiosep corpus build`` wrote.

    Raises:
        FileNotFoundError: The folder lacks ``clips.csv`` or ``audio.i16``.
        ValueError: The table is damaged, or does not fit the audio file.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        for name in (CLIPS_FILE, AUDIO_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no corpus ({name} is missing): "
                    "build one with audiosep corpus build"
                )
        self.clips: list[Clip] = _read_clips(folder / CLIPS_FILE)
        size = (folder / AUDIO_FILE).stat().st_size
        expected = 2 * sum(clip.samples for clip in self.clips)
        if size != expected or size == 0:
            raise ValueError(
                f"{folder / AUDIO_FILE} holds {size} bytes where {CLIPS_FILE} asks for {expected}: "
                "the corpus is damaged, build it again"
            )
        self._audio = np.memmap(folder / AUDIO_FILE, dtype="<i2", mode="r")
        self._classes = _classes(self.clips)

    def audio(self, clip: Clip, start: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """Samples of a clip as float32 in −1…1, shape (count,).

        Args:
            clip: A clip of this corpus.
            start: First sample wanted, within the clip.
            count: How many; by default all that follow.

        Raises:
            ValueError: The range leaves the clip.
        """
        count = clip.samples - start if count is None else count
        if start < 0 or count < 0 or start + count > clip.samples:
            raise ValueError(
                f"samples {start} to {start + count} lie outside {clip.package}/{clip.path}, "
                f"which has {clip.samples}: ask for a range within the clip"
            )
        first = clip.offset + start
        return self._audio[first : first + count].astype(np.float32) / np.float32(_FULL_SCALE)

    def classes(self, split: str | None = None) -> list[str]:
        """Classes that have clips in a split, or anywhere; sorted."""
        return sorted({clip.label for clip in self.clips if split in (None, clip.split)})

    def named(self, label: str) -> SoundClass:
        """What is known of a class.

        Raises:
            ValueError: There is no such class.
        """
        return self._classes[label] if label in self._classes else load_classes().named(label)

    def phrases(self, label: str) -> list[str]:
        """Queries a user may type for a class, plainest first.

        Raises:
            ValueError: There is no such class.
        """
        return list(self.named(label).phrases)

    def domain(self, label: str) -> str:
        """The domain of a class.

        Raises:
            ValueError: There is no such class.
        """
        return self.named(label).domain


class CorpusWriter:
    """Writes a corpus folder clip by clip; use as a context manager.

    A corpus that is there already is replaced only at the end, so that whoever reads it, and an
    interrupted build, keep a whole one.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._offset = 0
        self._rows: list[Clip] = []
        self._stream: BinaryIO

    def __enter__(self) -> CorpusWriter:
        self._partial = Partial(self._folder / AUDIO_FILE)
        self._stream = self._partial.path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stream.close()
        try:
            if kind is None:
                with replacing(self._folder / CLIPS_FILE) as clips:
                    _write_clips(clips, self._rows)
                    self._partial.commit()
        finally:
            self._partial.discard()

    def add(
        self,
        audio: NDArray[np.int16],
        *,
        package: str,
        path: str,
        label: str,
        domain: str,
        split: str,
        licence: str,
        weight: float = 1.0,
        bandwidth: float = 0.0,
        together: str = "",
        caption: str = "",
    ) -> None:
        """Append one clip: ``audio`` (samples,) int16 at 32 kHz, and what describes it."""
        self._stream.write(audio.astype("<i2").tobytes())
        self._rows.append(
            Clip(
                package,
                path,
                label,
                domain,
                split,
                self._offset,
                len(audio),
                licence,
                weight,
                bandwidth,
                together,
                caption,
            )
        )
        self._offset += len(audio)


def quantise(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Audio in −1…1 as the 16-bit samples that are stored, same shape."""
    return np.round(np.clip(audio, -1.0, 1.0) * _FULL_SCALE).astype(np.int16)


def _classes(clips: Iterable[Clip]) -> dict[str, SoundClass]:
    """The classes that classes.toml does not know, by what their clips say of themselves."""
    known = load_classes()
    found: dict[str, SoundClass] = {}
    for clip in clips:
        if clip.label in known:
            continue
        sound = found.setdefault(clip.label, SoundClass(clip.label, clip.domain, (clip.label,)))
        if clip.caption and clip.caption not in sound.phrases:
            found[clip.label] = dataclasses.replace(sound, phrases=(*sound.phrases, clip.caption))
    return found


def _read_clips(path: Path) -> list[Clip]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        columns = tuple(rows.fieldnames or ())
        # Earlier versions had the first of the columns alone.
        if columns not in (_NEEDED, _COLUMNS):
            raise ValueError(f"{path} does not start with the columns of a corpus: build it again")
        clips: list[Clip] = []
        offset = 0
        for row in rows:
            try:
                clip = _clip(row)
            except (ValueError, TypeError):
                line = rows.line_num
                raise ValueError(f"{path} line {line} is no clip: build it again") from None
            if clip.offset != offset or clip.samples <= 0:
                raise ValueError(
                    f"{path} line {rows.line_num} does not follow the clip before it: "
                    "the table was edited, build the corpus again"
                )
            clips.append(clip)
            offset += clip.samples
    return clips


def _clip(row: dict[str, str]) -> Clip:
    if None in row or None in row.values():
        raise ValueError("a row of another length")
    values = {("label" if name == "class" else name): text for name, text in row.items()}
    numbers = {name: int(values.pop(name)) for name in ("offset", "samples")}
    more = {name: float(values.pop(name)) for name in ("weight", "bandwidth") if name in values}
    return Clip(**values, **numbers, **more)  # type: ignore[arg-type]


def _write_clips(path: Path, clips: Iterable[Clip]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(dataclasses.astuple(clip) for clip in clips)
