"""Clips that a training must not hear, because an evaluation asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from audiosep_core.errors import MetadataError
from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_core.video import VIDEO_ENDINGS
from audiosep_training.datasets.metadata import read_json
from audiosep_training.datasets.recordings import JOINT, clip_name
from audiosep_training.datasets.tables import read_table, table_columns

#: Columns that name clips; of ``file_id`` two names are joined.
_NAMING = (
    "src_wav", "noise_wav", "noise_wav1", "noise_wav2", "file_id", "youtube_id", "file_name",
    "filename", "sound_id",
)  # fmt: skip
_FIELDS = ("wav", "id")
#: AudioSet's segments (video, start, end, labels) and VGGSound (video, start, label, split).
_HEADLESS = ("video", "start", "middle", "about")


class Exclusion:
    """Names of clips; of a YouTube video all clips count as named.

    Args:
        tables: JSON lists (``{"data": [{"wav"}]}``), tables of evaluation sets (released ones, or
            of ``audiosep evaluate build``), or corpora's own tables: AudioSet's segments,
            AudioCaps', VGGSound's (of which the test split counts), Clotho's.

    Raises:
        AudioPathError: A table is missing.
        MetadataError: It names no clips.
    """

    def __init__(self, tables: Iterable[Path]) -> None:
        self._names: set[str] = set()
        for table in tables:
            found = _json_names(table) if table.suffix == ".json" else _csv_names(table)
            if not found:
                raise MetadataError(
                    f"{table} names no clips; give a JSON list, or a table with one of the columns "
                    f"{', '.join(_NAMING)}"
                )
            for name in found:
                self._names |= _keys(name)

    def names(self, path: Path) -> bool:
        """Whether a file is one of the clips."""
        return not self._names.isdisjoint(_keys(path.name))


def _keys(name: str) -> set[str]:
    path = Path(name)
    # Clotho's names hold dots of their own.
    stem = path.stem if path.suffix.lower() in (*AUDIO_ENDINGS, *VIDEO_ENDINGS) else path.name
    clip = clip_name(stem)
    return {stem, clip[0]} if clip else {stem}


def _json_names(table: Path) -> list[str]:
    content = read_json(table)
    rows = content.get("data") if isinstance(content, dict) else None
    rows = rows if isinstance(rows, list) else []
    return [
        row[field]
        for row in rows
        if isinstance(row, dict)
        for field in _FIELDS
        if isinstance(row.get(field), str)
    ]


def _csv_names(table: Path) -> list[str]:
    columns = table_columns(table, latin=True)
    naming = [column for column in columns if column.partition(".")[0] in _NAMING]
    if naming:
        return [
            name.strip()
            for row in read_table(table, naming, latin=True)
            for column in naming
            for name in row.values[column].split(JOINT)
            if name.strip()
        ]
    # What has no head is told by its last column.
    if len(columns) != len(_HEADLESS):
        return []
    rows = read_table(table, _HEADLESS, names=_HEADLESS)
    return [
        row.values["video"].strip()
        for row in rows
        if row.values["about"].strip() == "test" or row.values["about"].strip().startswith("/")
    ]
