"""Writes a bundle: all files into a folder beside the target, then one rename."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from audiosep_core.bundle import (
    DESCRIPTION,
    QUERIES,
    SEPARATOR,
    TEXT_ENCODER,
    TOKENIZER,
    Bundle,
    encoder_hash,
    sha256,
)
from audiosep_core.network import SeparatorNetwork
from audiosep_core.queries import QueryPack
from audiosep_core.text import TextEncoder
from audiosep_core.vocabulary import known_queries
from export.context import needed_context
from export.graph import export_graph


def write_bundle(
    net: SeparatorNetwork,
    text_encoder: Path,
    target: Path,
    *,
    licence: str,
    provenance: str,
    documents: dict[str, str] | None = None,
) -> Bundle:
    """Export a network and everything it needs at run time.

    Args:
        net: The network, in evaluation mode.
        text_encoder: Folder with ``text_encoder.onnx``, ``tokenizer.json`` and their licence.
        target: Folder to make; one that exists is replaced as a whole.
        licence: SPDX expression of the weights.
        provenance: Where the weights come from.
        documents: Further files, name to text (the model card).

    Returns:
        The bundle, verified.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        for file in sorted(text_encoder.glob("*")):
            if file.name in (TEXT_ENCODER, TOKENIZER) or "LICENSE" in file.name:
                shutil.copyfile(file, folder / file.name)
        export_graph(net, folder / SEPARATOR)
        hashes = {file.name: sha256(file) for file in sorted(folder.iterdir())}
        queries = known_queries()
        encoder = TextEncoder(folder / TEXT_ENCODER, folder / TOKENIZER)
        pack = QueryPack(queries, encoder.encode(queries), encoder_hash(hashes))
        pack.save(folder / QUERIES)
        for name, text in (documents or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        bundle = Bundle(
            folder=folder,
            config=net.config,
            hashes={file.name: sha256(file) for file in sorted(folder.iterdir())},
            licence=licence,
            provenance=provenance,
            context_seconds=needed_context(net),
        )
        description = json.dumps(bundle.describe(), indent=2) + "\n"
        (folder / DESCRIPTION).write_text(description, encoding="utf-8")
        _replace(folder, target)
    return Bundle.open(target)


def _replace(folder: Path, target: Path) -> None:
    if target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".old-") as old:
            target.rename(Path(old) / target.name)
            folder.rename(target)
    else:
        folder.rename(target)
