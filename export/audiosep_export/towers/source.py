"""What ``--audio-encoder`` and ``--image-encoder`` may name, as files of a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audiosep_core.extras import needed_for
from audiosep_core.model.checkpoint import CheckpointError, read_checkpoint


@contextmanager
def tower_folder(audio: Path | None, image: Path | None) -> Iterator[Path | None]:
    """A folder with ``audio_encoder.onnx``, ``image_encoder.onnx`` or both, for the while.

    Args:
        audio: A checkpoint with CLAP's audio branch: laion-clap's, or the released AudioSep's.
        image: A checkpoint of CLIP with a ViT, or a folder as transformers saves one.

    Yields:
        The folder; None where neither is given.

    Raises:
        CheckpointError: A checkpoint is another one.
        TowerError: A graph does not compute what PyTorch does.
        UsageError: A package that the export needs is missing.
    """
    if audio is None and image is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with needed_for("exporting a tower", "export"):
            from audiosep_export.towers.clap import export_clap_audio
            from audiosep_export.towers.clap_audio import audio_weights
            from audiosep_export.towers.clip import export_clip_image
        if audio is not None:
            weights = audio_weights(read_checkpoint(audio))
            if not weights:
                raise CheckpointError(
                    f"{audio} holds no audio branch of CLAP; give laion-clap's checkpoint, or the "
                    "released AudioSep's"
                )
            export_clap_audio(weights, folder)
        if image is not None:
            content, heads = _clip_weights(image)
            export_clip_image(content.get("state_dict", content), folder, heads)
        yield folder


def _clip_weights(path: Path) -> tuple[dict[str, Any], int]:
    """The weights, and the image tower's attention heads where they are told."""
    if not path.is_dir():
        return read_checkpoint(path), 0
    from transformers import CLIPModel

    try:
        model: Any = CLIPModel.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds no CLIP ({str(error).splitlines()[0]}); give a checkpoint, or a folder "
            "as transformers saves it"
        ) from None
    return dict(model.state_dict()), model.config.vision_config.num_attention_heads
