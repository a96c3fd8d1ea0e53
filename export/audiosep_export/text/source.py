"""What ``--text-encoder`` may name: a folder with an exported encoder, or a checkpoint of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audiosep_core.extras import needed_for
from audiosep_core.model.checkpoint import CheckpointError, read_checkpoint, text_weights


@contextmanager
def text_encoder_folder(given: Path) -> Iterator[Path]:
    """A folder with ``text_encoder.onnx`` and ``tokenizer.json``.

    Args:
        given: Such a folder; or a checkpoint with CLAP's text branch or OpenAI's CLIP, beside
            which lie ``vocab.json`` and ``merges.txt``, and which is exported for the while.

    Raises:
        CheckpointError: The file holds neither tower, or its vocabulary is missing.
        TextTowerError: The graph does not compute what PyTorch does.
        UsageError: A package that the export needs is missing.
    """
    if given.is_dir():
        yield given
        return
    content = read_checkpoint(given)
    vocabulary, merges = given.with_name("vocab.json"), given.with_name("merges.txt")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with needed_for("exporting a text encoder", "export"):
            from audiosep_export.text.clap import export_clap_text
            from audiosep_export.text.clip import export_clip_text
        state = content.get("state_dict", content)
        if clap := text_weights(content):
            export_clap_text(clap, vocabulary, merges, folder)
        elif any("token_embedding" in name for name in state):
            export_clip_text(state, vocabulary, merges, folder)
        else:
            raise CheckpointError(
                f"{given} holds neither CLAP's text branch nor CLIP; give a checkpoint that does, "
                "or a folder with text_encoder.onnx"
            )
        yield folder
