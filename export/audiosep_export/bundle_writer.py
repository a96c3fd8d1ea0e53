"""Writes a bundle: all files into a folder beside the target, then one rename."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from audiosep_core.atomic import replacing_folder
from audiosep_core.errors import BundleError, UsageError
from audiosep_core.model.bundle import (
    AUDIO_ENCODER,
    CONDITION,
    DESCRIPTION,
    IMAGE_ENCODER,
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
from audiosep_core.model.network import SeparatorNetwork
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_core.query.packs import QueryPack
from audiosep_core.query.text_encoder import TextEncoder
from audiosep_core.query.vocabulary import known_queries
from audiosep_export.evidence.context import needed_context
from audiosep_export.evidence.sounds import labelled_sounds
from audiosep_export.evidence.verify import verify_separator, verify_waveform
from audiosep_export.evidence.verify_steps import verify_steps
from audiosep_export.graphs.separator_graph import Precision, separator_model
from audiosep_export.graphs.streaming_graph import condition_model, step_model
from audiosep_export.graphs.waveform import waveform_model
from audiosep_export.quantise import write_int8


def write_bundle(
    net: SeparatorNetwork | StreamingNetwork,
    text_encoder: Path | None,
    target: Path,
    *,
    licence: str,
    provenance: str,
    precision: Precision = "fp32",
    waveform_samples: int | None = None,
    sounds: Path | None = None,
    documents: dict[str, str] | None = None,
    shared: bool = False,
    towers: Path | None = None,
) -> Bundle:
    """Export a network and everything it needs at run time, verified before it is in place.

    Args:
        net: The network, in evaluation mode.
        text_encoder: Folder with ``text_encoder.onnx``, ``tokenizer.json`` and their licence;
            None makes a bundle that knows no words, only embeddings.
        target: Folder to make; one that exists is replaced as a whole.
        licence: SPDX expression of the weights.
        provenance: Where the weights come from.
        precision: Of the separator's features; int8 needs a text encoder. A streaming network is
            always float32.
        waveform_samples: Write ``waveform.onnx`` for this many samples as well.
        sounds: Folder of sounds that int8 is calibrated on, named by their queries; None takes
            the demo's.
        documents: Further files, name to text (the model card).
        shared: Leave the text encoder's folder where it is, beside the bundle, instead of copying
            what is in it; :func:`copy_text_encoder` completes such a folder.
        towers: Folder with ``audio_encoder.onnx``, ``image_encoder.onnx`` or both, for queries by
            sound and by video.

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
        with replacing_folder(target) as folder:
            words = text_encoder if shared else folder
            if text_encoder is not None and not shared:
                copy_text_encoder(text_encoder, folder)
            if towers is not None:
                _add_towers(towers, folder, net.config.condition_size)
            report = _add_graphs(net, folder, words, precision, waveform_samples, sounds)
            for name, text in {**(documents or {}), REPORT: report}.items():
                (folder / name).write_text(text, encoding="utf-8")
            files = {file.name: file for part in (words, folder) if part for file in part.iterdir()}
            bundle = Bundle(
                folder=folder,
                config=net.config,
                hashes={name: sha256(files[name]) for name in sorted(files)},
                licence=licence,
                provenance=provenance,
                context_seconds=0.0 if isinstance(net, StreamingNetwork) else needed_context(net),
            )
            description = json.dumps(bundle.describe(), indent=2) + "\n"
            (folder / DESCRIPTION).write_text(description, encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}") from None
    return Bundle.open(target)


def copy_text_encoder(source: Path, folder: Path) -> None:
    """Copy an encoder into a folder and embed the known queries with it.

    Raises:
        BundleError: There is no encoder.
    """
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


def _add_towers(source: Path, folder: Path, size: int) -> None:
    for name in (AUDIO_ENCODER, IMAGE_ENCODER):
        if (source / name).is_file():
            graph = onnx.load(source / name)
            given = graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
            if given != size:
                raise UsageError(
                    f"the tower of {name} gives {given} values, the network takes {size}; give "
                    "the towers that it was trained with"
                )
            shutil.copyfile(source / name, folder / name)


def _add_graphs(
    net: SeparatorNetwork | StreamingNetwork,
    folder: Path,
    words: Path | None,
    precision: Precision,
    waveform_samples: int | None,
    sounds: Path | None,
) -> str:
    """Write the graphs; returns the report on them. ``words`` holds the text encoder, if any."""
    report: dict[str, Any] = {}
    if isinstance(net, StreamingNetwork):
        if precision != "fp32" or waveform_samples is not None:
            raise UsageError(
                "a streaming network is exported in float32 and without a waveform graph; leave "
                "out --precision and --waveform"
            )
        onnx.save(condition_model(net), folder / CONDITION)
        onnx.save(step_model(net), folder / SEPARATOR)
        report["separator"] = verify_steps(net, folder)
        return _report(precision, report)
    if precision == "int8":
        if words is None or not (words / TEXT_ENCODER).is_file():
            raise UsageError(
                "int8 is held to how well it separates queries in words; give --text-encoder"
            )
        encoder = TextEncoder(words / TEXT_ENCODER, words / TOKENIZER)
        labelled = labelled_sounds(sounds, net.config.sample_rate)
        report["int8"] = write_int8(net, folder / SEPARATOR, encoder, labelled)
    else:
        onnx.save(separator_model(net, precision), folder / SEPARATOR)
    report["separator"] = verify_separator(net, folder / SEPARATOR, precision)
    if waveform_samples is not None:
        onnx.save(waveform_model(net, waveform_samples), folder / WAVEFORM)
        report["waveform"] = verify_waveform(net, folder / WAVEFORM, waveform_samples)
    return _report(precision, report)


def _report(precision: Precision, report: dict[str, Any]) -> str:
    versions = {module.__name__: str(module.__version__) for module in (onnx, onnxruntime, torch)}
    report = {"precision": precision, **report, "versions": versions}
    return json.dumps(report, indent=2) + "\n"
