"""Lists of clips from the datasets of the paper, in the form each is distributed in.

Sound files are looked for in a folder under the names that the datasets' own tools give them;
clips whose file is missing (videos disappear) are left out and counted.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from audiosep_core.audio_files import AUDIO_ENDINGS
from training.lists import Item, ListError

#: (names a file may have without ending, captions); one item for each caption.
_Row = tuple[tuple[str, ...], list[str]]


def find_items(dataset: str, metadata: Path, audio: Path, labels: Path | None) -> list[Item]:
    """The clips of a dataset that are there.

    Args:
        dataset: A key of :data:`DATASETS`.
        metadata: The dataset's own table.
        audio: Folder with its sound files, searched with all folders in it.
        labels: AudioSet's ``class_labels_indices.csv``, which names its labels.

    Raises:
        ListError: The table has another form, or none of its files is there.
    """
    files: dict[str, Path] = {}
    for path in sorted(audio.rglob("*")):
        if path.suffix.lower() in AUDIO_ENDINGS:
            files.setdefault(path.stem, path)
    items = []
    rows = 0
    for names, captions in DATASETS[dataset](metadata, labels):
        rows += 1
        wav = next((files[name] for name in names if name in files), None)
        if wav is not None:
            items += [Item(wav, caption) for caption in captions]
    if not items:
        raise ListError(
            f"{audio} holds none of the {rows} sound files that {metadata} names; give the folder "
            "that they were downloaded to"
        )
    return items


def _audioset(metadata: Path, labels: Path | None) -> Iterator[_Row]:
    """``# YTID, start_seconds, end_seconds, positive_labels``; the caption joins the labels."""
    if labels is None:
        raise ListError("AudioSet's table holds codes; give --labels class_labels_indices.csv")
    names = {row["mid"]: row["display_name"] for row in _table(labels, ("mid", "display_name"))}
    for line, row in _plain_rows(metadata):
        if row[0].startswith("#"):
            continue
        if len(row) < 4:
            raise ListError(f"{metadata}, line {line}: AudioSet's table has four columns")
        identity, start, end, codes = row[0], row[1], row[2], ",".join(row[3:])
        found = [names[code] for code in codes.split(",") if code in names]
        place = f"{metadata}, line {line}"
        names_of_file = _video_names(identity, _seconds(start, place), _seconds(end, place))
        yield names_of_file, [", ".join(found)]


def _vggsound(metadata: Path, _: Path | None) -> Iterator[_Row]:
    """``vggsound.csv``: video, start second, label, split; no head."""
    for line, row in _plain_rows(metadata):
        if len(row) != 4 or not row[1].isdigit():
            raise ListError(f"{metadata}, line {line}: VGGSound has video, second, label, split")
        if row[3] == "train":
            yield _video_names(row[0], float(row[1]), float(row[1]) + 10), [row[2]]


def _audiocaps(metadata: Path, _: Path | None) -> Iterator[_Row]:
    """``audiocap_id,youtube_id,start_time,caption``."""
    for row in _table(metadata, ("audiocap_id", "youtube_id", "start_time", "caption")):
        start = _seconds(row["start_time"], f"{metadata}, clip {row['audiocap_id']}")
        names = _video_names(row["youtube_id"], start, start + 10)
        yield (*names, row["audiocap_id"]), [row["caption"]]


def _clotho(metadata: Path, _: Path | None) -> Iterator[_Row]:
    """``file_name,caption_1,...,caption_5``: five items a file."""
    captions = [f"caption_{number}" for number in range(1, 6)]
    for row in _table(metadata, ("file_name", *captions)):
        yield (Path(row["file_name"]).stem,), [row[caption] for caption in captions]


def _wavcaps(metadata: Path, _: Path | None) -> Iterator[_Row]:
    """``{"data": [{"id", "caption", ...}]}``, one file for each of its four origins."""
    try:
        rows = json.loads(metadata.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ListError(f"{metadata} is no table of WavCaps ({error})") from None
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not {"id", "caption"} <= row.keys():
            raise ListError(f'{metadata}: item {number} lacks the field "id" or "caption"')
        # AudioSet's part names clips by file: "Yabc.wav".
        yield (Path(str(row["id"])).stem, str(row["id"])), [str(row["caption"])]


#: Dataset to the reader of its table.
DATASETS: dict[str, Callable[[Path, Path | None], Iterator[_Row]]] = {
    "audioset": _audioset,
    "vggsound": _vggsound,
    "audiocaps": _audiocaps,
    "clotho": _clotho,
    "wavcaps": _wavcaps,
}


def _video_names(identity: str, start: float, end: float) -> tuple[str, ...]:
    """What downloaders call the sound of a piece of a video."""
    first, last = int(start), int(end)
    return (
        identity,
        f"Y{identity}",
        f"{identity}_{first}",
        f"{identity}_{first:06d}",
        f"{identity}_{first}_{last}",
        f"{identity}_{start:.3f}_{end:.3f}",
        f"{identity}_{first * 1000}",
        f"{identity}_{first * 1000}_{last * 1000}",
    )


def _seconds(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ListError(f"{place}: {text!r} is no time in seconds") from None


def _plain_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a table without a head, each with its line."""
    for line, row in enumerate(csv.reader(_lines(path), skipinitialspace=True), 1):
        if row:
            yield line, row


def _table(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a table with a head."""
    rows = csv.DictReader(_lines(path), skipinitialspace=True)
    missing = [column for column in columns if column not in (rows.fieldnames or ())]
    if missing:
        raise ListError(f'{path}, line 1: the column "{missing[0]}" is missing')
    for row in rows:
        if any(row[column] is None for column in columns):
            raise ListError(f"{path}, line {rows.line_num}: the row has too few columns")
        yield row


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError:
        raise ListError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ListError(f"{path} cannot be read ({error.strerror})") from None
