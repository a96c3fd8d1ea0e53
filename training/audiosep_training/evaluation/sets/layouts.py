"""How evaluation sets lie on disk; the released ones as the released evaluation reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from audiosep_core.errors import AudioPathError
from audiosep_core.files.items import Item, MixtureAndTargetFiles, read_items
from audiosep_core.query.vocabulary import read_vocabulary
from audiosep_training.datasets.tables import read_table, table_columns

RATE = 32_000
SPEECH_RATE = 16_000
ITEMS_PER_CLASS = 10
#: Folders of Voicebank-DEMAND, as it is distributed and as it is often renamed.
_NOISY = ("noisy_testset_wav", "noisy")
_CLEAN = ("clean_testset_wav", "clean")


@dataclasses.dataclass(frozen=True)
class SetOptions:
    """Where an evaluation set lies, and the choices it leaves.

    Attributes:
        data: Folder of the set.
        metadata: Its table; None for the one in the folder.
        queries: "captions" or "labels", where a set has both.
        query: The one query of a set that has one target.
        count: Number of mixtures that are drawn.
        seconds: Their length.
        seed: Of the draw.
        split: What of a corpus mixtures are drawn from: "test" or "validation".
        paraphrases: Whether they are asked for in words that no training saw; those of classes
            without such words are left out.
    """

    data: Path
    metadata: Path | None = None
    queries: str = "captions"
    query: str = ""
    count: int = 400
    seconds: float = 4.0
    seed: int = 0
    split: str = "test"
    paraphrases: bool = False

    def table(self, name: str) -> Path:
        """The table: the one that was named, else ``name`` in the folder."""
        return self.metadata or self.data / name


def numbered(
    options: SetOptions, table: Path, columns: dict[str, str], grouped: bool = False
) -> Iterator[Item]:
    """``segment-IDX.wav`` and ``mixture-IDX.wav``, with a table of ``idx`` and queries.

    Args:
        options: Where.
        table: The table.
        columns: Column with queries to the group of its items ("" for none).
        grouped: Whether the query itself is the group, as it is where queries are classes.
    """
    for row in read_table(table, ["idx", *columns]):
        index = row.number("idx")
        files = MixtureAndTargetFiles(
            options.data / f"mixture-{index}.wav", options.data / f"segment-{index}.wav", RATE
        )
        for column, group in columns.items():
            query = row.text(column)
            yield Item(str(index), query if grouped else group, query, files)


def audioset(options: SetOptions) -> Iterator[Item]:
    """``class_id=N/class_id=N,index=NNN,{source,mixture}.wav``, ten of each class in order.

    The labels are AudioSet's own unless a table says others: ``class_labels_indices.csv``
    (``index``, ``display_name``) or the released ``audioset_eval.csv`` (``idx``, ``caption``).
    """
    labels = _audioset_labels(options.metadata)
    for class_id, label in labels.items():
        folder = options.data / f"class_id={class_id}"
        targets = sorted(folder.glob("*,source.wav"))
        for target in targets[:ITEMS_PER_CLASS]:
            name = target.name.removesuffix(",source.wav")
            files = MixtureAndTargetFiles(target.with_name(f"{name},mixture.wav"), target, RATE)
            yield Item(name, label, label, files)


def _audioset_labels(table: Path | None) -> dict[int, str]:
    if table is None:
        return dict(enumerate(read_vocabulary("audioset")))
    released = "caption" in table_columns(table)
    index, label = ("idx", "caption") if released else ("index", "display_name")
    return {row.number(index): row.text(label) for row in read_table(table, [index, label])}


def vggsound(options: SetOptions) -> Iterator[Item]:
    """A table of ``file_id``, ``mix_wav``, ``s0_wav``, ``s0_text``; paths are below the folder."""
    columns = ["file_id", "mix_wav", "s0_wav", "s0_text"]
    for row in read_table(options.table("vggsound_eval.csv"), columns):
        files = MixtureAndTargetFiles(
            options.data / row.text("mix_wav"), options.data / row.text("s0_wav"), RATE
        )
        yield Item(row.text("file_id"), row.text("s0_text"), row.text("s0_text"), files)


def voicebank(options: SetOptions) -> Iterator[Item]:
    """Files of one name in a folder of noisy and in one of clean speech; taken at 16 kHz."""
    noisy = _one_of(options.data, _NOISY)
    clean = _one_of(options.data, _CLEAN)
    for mixture in sorted(noisy.glob("*.wav")):
        files = MixtureAndTargetFiles(mixture, clean / mixture.name, SPEECH_RATE)
        yield Item(mixture.stem, "", options.query, files)


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise AudioPathError(f"{folder} holds no folder {' or '.join(names)}; name the one that does")


def stems(options: SetOptions) -> Iterator[Item]:
    """Folders with ``mixture.wav``, as :func:`audiosep_core.files.items.read_items` reads them."""
    return read_items(options.data)
