"""Writes a bundle: all files into a folder beside the target, then one rename."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from audiosep_core.bundle import (
    DESCRIPTION,
    QUERIES,
    REPORT,
    SEPARATOR,
    TEXT_ENCODER,
    TOKENIZER,
    WAVEFORM,
    Bundle,
    encoder_hash,
    sha256,
)
from audiosep_core.errors import BundleError, UsageError
from audiosep_core.network import SeparatorNetwork
from audiosep_core.queries import QueryPack
from audiosep_core.text import TextEncoder
from audiosep_core.vocabulary import known_queries
from export.context import needed_context
from export.graph import Precision, separator_model
from export.quantise import write_int8
from export.sounds import labelled_sounds
from export.verify import verify_separator, verify_waveform
from export.waveform import waveform_model


def write_bundle(
    net: SeparatorNetwork,
    text_encoder: Path | None,
    target: Path,
    *,
    licence: str,
    provenance: str,
    precision: Precision = "fp32",
    waveform_samples: int | None = None,
    sounds: Path | None = None,
    documents: dict[str, str] | None = None,
) -> Bundle:
    """Export a network and everything it needs at run time, verified before it is in place.

    Args:
        net: The network, in evaluation mode.
        text_encoder: Folder with ``text_encoder.onnx``, ``tokenizer.json`` and their licence;
            None makes a bundle that knows no words, only embeddings.
        target: Folder to make; one that exists is replaced as a whole.
        licence: SPDX expression of the weights.
        provenance: Where the weights come from.
        precision: Of the separator's features; int8 needs a text encoder.
        waveform_samples: Write ``waveform.onnx`` for this many samples as well.
        sounds: Folder of sounds that int8 is calibrated on, named by their queries; None takes
            the demo's.
        documents: Further files, name to text (the model card).

    Returns:
        The bundle, verified.

    Raises:
        ExportError: What was exported does not compute what the network computes, or int8 loses
            too much.
        UsageError: int8 lacks a text encoder or sounds.
        BundleError: The folder cannot be written.
        ValueError: ``waveform_samples`` is too short.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as temporary:
            folder = Path(temporary) / target.name
            folder.mkdir()
            if text_encoder is not None:
                _add_text_encoder(text_encoder, folder)
            report = _add_graphs(net, folder, precision, waveform_samples, sounds)
            for name, text in {**(documents or {}), REPORT: report}.items():
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
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}") from None
    return Bundle.open(target)


def _add_text_encoder(source: Path, folder: Path) -> None:
    """Copy an encoder and embed the known queries with it."""
    for name in (TEXT_ENCODER, TOKENIZER):
        if not (source / name).is_file():
            raise BundleError(f"{source} holds no {name}; give a folder with a text encoder")
    for file in sorted(source.glob("*")):
        if file.name in (TEXT_ENCODER, TOKENIZER) or "LICENSE" in file.name:
            shutil.copyfile(file, folder / file.name)
    hashes = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    queries = known_queries()
    encoder = TextEncoder(folder / TEXT_ENCODER, folder / TOKENIZER)
    pack = QueryPack(queries, encoder.encode(queries), encoder_hash(hashes))
    pack.save(folder / QUERIES)


def _add_graphs(
    net: SeparatorNetwork,
    folder: Path,
    precision: Precision,
    waveform_samples: int | None,
    sounds: Path | None,
) -> str:
    """Write the graphs; returns the report on them."""
    report: dict[str, Any] = {}
    if precision == "int8":
        if not (folder / TEXT_ENCODER).is_file():
            raise UsageError(
                "int8 is held to how well it separates queries in words; give --text-encoder"
            )
        encoder = TextEncoder(folder / TEXT_ENCODER, folder / TOKENIZER)
        labelled = labelled_sounds(sounds, net.config.sample_rate)
        report["int8"] = write_int8(net, folder / SEPARATOR, encoder, labelled)
    else:
        onnx.save(separator_model(net, precision), folder / SEPARATOR)
    report["separator"] = verify_separator(net, folder / SEPARATOR, precision)
    if waveform_samples is not None:
        onnx.save(waveform_model(net, waveform_samples), folder / WAVEFORM)
        report["waveform"] = verify_waveform(net, folder / WAVEFORM, waveform_samples)
    versions = {module.__name__: str(module.__version__) for module in (onnx, onnxruntime, torch)}
    report = {"precision": precision, **report, "versions": versions}
    return json.dumps(report, indent=2) + "\n"


def _replace(folder: Path, target: Path) -> None:
    if target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".old-") as old:
            target.rename(Path(old) / target.name)
            folder.rename(target)
    else:
        folder.rename(target)
