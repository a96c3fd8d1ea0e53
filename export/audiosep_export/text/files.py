"""The files of a text encoder in a bundle, written all or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import tokenizers

from audiosep_core.atomic import replacing
from audiosep_core.model.bundle import TEXT_ENCODER, TOKENIZER

LICENCE = "TEXT_ENCODER_LICENSE"


def write_text_encoder(
    folder: Path,
    model: onnx.ModelProto,
    tokenizer: tokenizers.Tokenizer,
    notice: str,
    check: Callable[[Path], object] = lambda graph: None,
) -> None:
    """Write ``text_encoder.onnx``, ``tokenizer.json`` and ``TEXT_ENCODER_LICENSE``.

    Args:
        folder: Where; created if it does not exist.
        model: The graph.
        tokenizer: What the graph's tokens come from.
        notice: Where the weights come from and how they were changed.
        check: Called with the path of the graph before anything gets its name; what it raises
            leaves the folder as it was.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder / LICENCE) as licence,
        replacing(folder / TOKENIZER) as words,
        replacing(folder / TEXT_ENCODER) as graph,
    ):
        graph.write_bytes(model.SerializeToString(deterministic=True))
        check(graph)
        tokenizer.save(str(words), pretty=False)
        licence.write_text(notice, encoding="utf-8", newline="\n")
