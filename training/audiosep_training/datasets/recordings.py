"""The recordings of public corpora, found by the tables that the corpora are distributed with."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from audiosep_core.errors import AudioPathError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_core.video import VIDEO_ENDINGS
from audiosep_training.datasets.metadata import field_fault, read_entries, read_json
from audiosep_training.datasets.tables import read_table

#: Length of a segment of a longer recording, and of clips of videos.
SEGMENT_SECONDS = 10
CLIP_SECONDS = 10
#: Joins the names of target and background in VGGSound's released table.
JOINT = "+++"
_SEGMENT = re.compile(r"(.+)_(\d+)")
#: A YouTube clip's file: the video's id, after a Y or not, and perhaps where the clip lies in it.
_CLIP = re.compile(r"Y?([\w-]{11})(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?")
#: Columns of AudioSet's lists of segments, which have no head but in a comment.
_SEGMENTS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording of a corpus, or a segment of one.

    Attributes:
        path: The file.
        labels: What is heard in it; two recordings that share none are of other classes.
        captions: Sentences about it.
        segment: Number of the segment, of :data:`SEGMENT_SECONDS` each; None for the whole.
    """

    path: Path
    labels: tuple[str, ...]
    captions: tuple[str, ...] = ()
    segment: int | None = None

    @property
    def name(self) -> str:
        """File name, with the number of the segment if it is one: ``abc_3.wav``."""
        return self.path.name if self.segment is None else f"{self.path.stem}_{self.segment}.wav"


def clip_name(stem: str) -> tuple[str, frozenset[int]] | None:
    """Id of the YouTube video that a clip is of, by the clip's name, and where in it it may begin.

    Returns:
        The seconds are none where the name does not tell; two where it may also be milliseconds.
        None for a name of another kind.
    """
    match = _CLIP.fullmatch(stem)
    if match is None:
        return None
    starts: set[int] = set()
    if match[2]:
        start = int(float(match[2]))
        starts = {start} if start % 1000 else {start, start // 1000}
    return match[1], frozenset(starts)


class AudioFileIndex:
    """Finds the files of a corpus by name, wherever below a folder they lie.

    Args:
        folder: Where the files are, and the tables that are not named.
        labels: AudioSet's ``class_labels_indices.csv``; None for the one below the folder.
        endings: Of the files; those of sounds unless others are named.

    Attributes:
        missing: What was asked for and is not there, each once.

    Raises:
        AudioPathError: There is no such folder, or no such file below it.
    """

    def __init__(
        self, folder: Path, labels: Path | None = None, endings: Collection[str] = AUDIO_ENDINGS
    ) -> None:
        if not folder.is_dir():
            raise AudioPathError(f"{folder} is no folder; name the one with the raw corpus")
        self.folder = folder
        self.labels = labels
        self.missing: dict[str, None] = {}
        self.files = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file()
        )
        self._by_stem = {path.stem: path for path in self.files}
        self._by_video: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            if clip := clip_name(path.stem):
                self._by_video[clip[0]].append(path)
        if not self.files:
            kind = "video" if endings == VIDEO_ENDINGS else "audio"
            raise AudioPathError(f"{folder} holds no {kind} file; name the folder that does")

    def find(self, *names: str) -> Path | None:
        """The file of the first of some names (without ending) that there is."""
        path = self._look(*names)
        if path is None:
            self.missing[names[0]] = None
        return path

    def recording(self, name: str) -> Recording | None:
        """A file by its name in a released table, which may stand for a ten-second segment.

        Clips of YouTube are found by other names that downloaders give them, too.
        """
        stem = Path(name).stem
        if path := self._look(stem, f"Y{stem}", stem.removeprefix("Y")):
            return Recording(path, ())
        if (match := _SEGMENT.fullmatch(stem)) and (path := self._look(match[1])):
            return Recording(path, (), segment=int(match[2]))
        if (clip := clip_name(stem)) and (path := self._of_video(*clip)):
            return Recording(path, ())
        self.missing[stem] = None
        return None

    def clip(
        self, youtube_id: str, start: float, end: float | None = None, others: Iterable[str] = ()
    ) -> Path | None:
        """A clip of a YouTube video, by the names that downloaders give it.

        Args:
            youtube_id: The video.
            start: Where in it the clip begins, in seconds.
            end: Where it ends; None for :data:`CLIP_SECONDS` later.
            others: Names that the file may have, too.
        """
        end = start + CLIP_SECONDS if end is None else end
        first, last = int(start), int(end)
        pieces = (
            f"{first}",
            f"{first:06d}",
            f"{first}_{last}",
            f"{start:.3f}_{end:.3f}",
            f"{1000 * first}",
            f"{1000 * first}_{1000 * last}",
        )
        names = [youtube_id, *(f"{youtube_id}_{piece}" for piece in pieces)]
        path = self._look(*names, *(f"Y{name}" for name in names), *others)
        path = path or self._of_video(youtube_id, frozenset([first]))
        if path is None:
            self.missing[f"{youtube_id}_{first}"] = None
        return path

    def _look(self, *names: str) -> Path | None:
        return next((self._by_stem[name] for name in names if name in self._by_stem), None)

    def _of_video(self, youtube_id: str, starts: frozenset[int]) -> Path | None:
        """The one clip of a video that begins there, or may; None where it could be several."""
        found = []
        for path in self._by_video.get(youtube_id, []):
            clip = clip_name(path.stem)
            if clip is not None and (not clip[1] or not starts or clip[1] & starts):
                found.append(path)
        return found[0] if len(found) == 1 else None

    def table(self, given: Path | None, name: str, option: str = "--metadata") -> Path:
        """A table: the one that was named by an option, else that of this name in the folder."""
        if given is not None:
            return given
        for path in sorted(self.folder.rglob(name)):
            return path
        raise AudioPathError(f"{self.folder} holds no {name}; name the table with {option}")


#: Reads a corpus' table: the one that is named, or the one of its test split in the index's folder.
Reader = Callable[[AudioFileIndex, Path | None], Iterator[Recording]]


def check_found(index: AudioFileIndex, recordings: Iterable[Recording]) -> list[Recording]:
    """All that a reader finds in an index.

    Raises:
        AudioPathError: It is nothing, or a table is missing.
        MetadataError: A table is damaged; the message names line and field.
    """
    found = list(recordings)
    if not found:
        raise AudioPathError(
            f"no file below {index.folder} is named in the corpus' table; name the folder that "
            "its files are in"
        )
    return found


def read_esc50(index: AudioFileIndex, metadata: Path | None) -> Iterator[Recording]:
    """ESC-50: ``meta/esc50.csv`` with ``filename`` and ``category``."""
    for row in read_table(index.table(metadata, "esc50.csv"), ["filename", "category"]):
        label = row.text("category").replace("_", " ")
        if path := index.find(Path(row.text("filename")).stem):
            yield Recording(path, (label,), (label,))


def read_audioset(index: AudioFileIndex, metadata: Path | None) -> Iterator[Recording]:
    """AudioSet: ``eval_segments.csv``, and ``class_labels_indices.csv`` for the labels' names."""
    names = _audioset_names(index)
    table = index.table(metadata, "eval_segments.csv")
    for row in read_table(table, _SEGMENTS, names=_SEGMENTS):
        labels = []
        for mid in row.text("positive_labels").split(","):
            if mid not in names:
                raise row.fault("positive_labels", f"names {mid!r}, which has no name in the list")
            labels.append(names[mid])
        start, end = row.seconds("start_seconds"), row.seconds("end_seconds")
        if path := index.clip(row.text("YTID"), start, end):
            yield Recording(path, tuple(labels), (", ".join(labels),))


def read_audiocaps(
    index: AudioFileIndex, metadata: Path | None, labelled: bool = True
) -> Iterator[Recording]:
    """AudioCaps: ``test.csv`` with ``youtube_id``, ``start_time`` and one ``caption`` a row.

    A file may also be called by the ``audiocap_id`` of one of its captions. The labels come from
    AudioSet's lists of segments, where they lie beside the audio and ``labelled`` asks for them.
    """
    labels = _audioset_labels(index) if labelled else {}
    clips: dict[tuple[str, float], dict[str, str]] = {}
    columns = ["audiocap_id", "youtube_id", "start_time", "caption"]
    for row in read_table(index.table(metadata, "test.csv"), columns):
        captions = clips.setdefault((row.text("youtube_id"), row.seconds("start_time")), {})
        captions[row.text("audiocap_id")] = row.text("caption")
    for (youtube_id, start), captions in clips.items():
        if path := index.clip(youtube_id, start, others=captions):
            yield Recording(path, labels.get(youtube_id, ()), tuple(captions.values()))


def read_clotho(
    index: AudioFileIndex, metadata: Path | None, labelled: bool = True
) -> Iterator[Recording]:
    """Clotho v2: ``clotho_captions_evaluation.csv``.

    The labels are the keywords of ``clotho_metadata_evaluation.csv``, where it is there and
    ``labelled`` asks for them.
    """
    keywords: dict[str, tuple[str, ...]] = {}
    tables = sorted(index.folder.rglob("clotho_metadata_evaluation.csv")) if labelled else []
    for table in tables:
        for row in read_table(table, ["file_name", "keywords"], latin=True):
            words = row.values["keywords"].split(";")
            keywords[row.text("file_name")] = tuple(word.strip() for word in words if word.strip())
    columns = ["file_name", *(f"caption_{number}" for number in range(1, 6))]
    table = index.table(metadata, "clotho_captions_evaluation.csv")
    for row in read_table(table, columns, latin=True):
        name = row.text("file_name")
        if path := index.find(Path(name).stem):
            sentences = tuple(row.text(column) for column in columns[1:])
            yield Recording(path, keywords.get(name, ()), sentences)


def read_vggsound(
    index: AudioFileIndex, metadata: Path | None, split: str = "test"
) -> Iterator[Recording]:
    """VGGSound: ``vggsound.csv``, without a head: video, second, label, split (train or test)."""
    columns = ["youtube_id", "start_seconds", "label", "split"]
    for row in read_table(index.table(metadata, "vggsound.csv"), columns, names=columns):
        label, start = row.text("label"), row.seconds("start_seconds")
        if row.text("split") != split:
            continue
        if path := index.clip(row.text("youtube_id"), start):
            yield Recording(path, (label,), (label,))


def read_wavcaps(index: AudioFileIndex, metadata: Path) -> Iterator[Recording]:
    """WavCaps: ``{"data": [{"id", "caption", ...}]}``, one file for each of its four origins."""
    for item in read_entries(metadata, ("id", "caption")):
        # AudioSet's part names clips by file: "Yabc.wav".
        if path := index.find(Path(item["id"]).stem, item["id"]):
            yield Recording(path, (), (item["caption"],))


def read_music(index: AudioFileIndex, metadata: Path | None) -> Iterator[Recording]:
    """MUSIC: ``MUSIC_solo_videos.json``, or a folder for each instrument; ten-second segments."""
    try:
        table = index.table(metadata, "MUSIC_solo_videos.json")
    except AudioPathError:
        found = [(path, path.parent.name) for path in index.files]
    else:
        found = []
        for instrument, videos in _music_videos(table).items():
            paths = [index.find(str(video), f"Y{video}") for video in videos]
            found += [(path, instrument) for path in paths if path is not None]
    for path, instrument in found:
        label = instrument.replace("_", " ")
        with AudioReader(path) as reader:
            segments = reader.frames // (SEGMENT_SECONDS * reader.sample_rate)
        for segment in range(segments):
            yield Recording(path, (label,), (label,), segment)


def _music_videos(table: Path) -> dict[str, list[str]]:
    content = read_json(table)
    try:
        return {str(name): list(ids) for name, ids in content["videos"].items()}
    except (KeyError, TypeError, AttributeError):
        raise field_fault(
            table, 1, "videos", "must hold, for each instrument, a list of videos, as MUSIC has it"
        ) from None


def _audioset_names(index: AudioFileIndex) -> dict[str, str]:
    table = index.table(index.labels, "class_labels_indices.csv", "--labels")
    columns = ["mid", "display_name"]
    return {row.text("mid"): row.text("display_name") for row in read_table(table, columns)}


def _audioset_labels(index: AudioFileIndex) -> dict[str, tuple[str, ...]]:
    """YouTube's id to labels, from all of AudioSet's lists of segments that there are."""
    labels: dict[str, tuple[str, ...]] = {}
    tables = sorted(index.folder.rglob("*_segments.csv"))
    names = _audioset_names(index) if tables else {}
    for table in tables:
        for row in read_table(table, _SEGMENTS, names=_SEGMENTS):
            mids = row.text("positive_labels").split(",")
            labels[row.text("YTID")] = tuple(names.get(mid, mid) for mid in mids)
    return labels
