"""CLIP: the paper's other encoder, which also asks by video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import functional as F

from audiosep_core.model.bundle import sha256
from audiosep_core.model.checkpoint import CheckpointError
from audiosep_core.video import read_frames
from audiosep_export.text.bpe_tokenizer import clip_tokenizer
from audiosep_training.query_encoders.base import Embeddings, Frames, FrozenEncoder

_AT_A_TIME = 64
_MIDDLE_FRAMES = 3
# Of CLIP's training images (Radford et al. 2021, released code).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)


class ClipEncoder(FrozenEncoder):
    """Texts by CLIP's text tower, videos by the mean of their frames in its image tower.

    Args:
        folder: What ``save_pretrained`` of transformers writes, with ``vocab.json`` and
            ``merges.txt``.
        raw: Leave embeddings as long as CLIP gives them, and take three frames of a video from
            its middle: CLIPSep's way.

    Raises:
        CheckpointError: The folder holds no CLIP.
    """

    def __init__(self, folder: Path, raw: bool = False) -> None:
        try:
            model: Any = transformers.CLIPModel.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no CLIP ({str(error).splitlines()[0]}); give a folder as "
                "transformers saves it"
            ) from None
        weights = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.bin"))
        identity = " ".join(sha256(path) for path in weights)
        super().__init__(f"clip{' raw' * raw} {identity}", model.config.projection_dim)
        self._raw = raw
        self._model = model.float().eval()
        self._tokenizer = clip_tokenizer(folder / "vocab.json", folder / "merges.txt")

    @torch.no_grad()
    def _encode_texts(self, texts: list[str]) -> Embeddings:
        model = self._model.to(self.device)
        rows = []
        for text in texts:
            ids = torch.tensor([self._tokenizer.encode(text).ids], device=self.device)
            pooled = model.text_model(input_ids=ids).pooler_output
            rows.append(self._scaled(model.text_projection(pooled))[0].cpu().numpy())
        return np.stack(rows)

    def _encode_videos(self, videos: list[Path | Frames]) -> Embeddings:
        return np.stack([self.embed_frames(self._chosen(self._frames(it))) for it in videos])

    def _frames(self, video: Path | Frames) -> Frames:
        size = self._model.config.vision_config.image_size
        if isinstance(video, Path):
            return read_frames(video, size)
        if video.shape[1:] != (size, size, 3):
            raise CheckpointError(
                f"the shards' videos have {video.shape[1]} pixels a side, this CLIP sees {size}; "
                f"write them again with 'audiosep shards --frames {size}'"
            )
        return video

    @torch.no_grad()
    def embed_frames(self, frames: Frames) -> Embeddings:
        """(frames, height, width, 3) to (size,): the mean of unit embeddings, of unit length.

        Raw, the mean of the embeddings as they are.
        """
        model = self._model.to(self.device)
        mean, spread = torch.tensor(_MEAN), torch.tensor(_SPREAD)
        embeddings = []
        for start in range(0, len(frames), _AT_A_TIME):
            part = torch.from_numpy(frames[start : start + _AT_A_TIME]).float() / 255
            pixels = ((part - mean) / spread).permute(0, 3, 1, 2).to(self.device)
            pooled = model.vision_model(pixel_values=pixels).pooler_output
            embeddings.append(self._scaled(model.visual_projection(pooled)))
        average = torch.cat(embeddings).mean(0, keepdim=True)
        return self._scaled(average)[0].cpu().numpy()

    def _chosen(self, frames: Frames) -> Frames:
        if not self._raw:
            return frames
        first = max(0, len(frames) // 2 - _MIDDLE_FRAMES // 2)
        return frames[first : first + _MIDDLE_FRAMES]

    def _scaled(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings if self._raw else F.normalize(embeddings, dim=1)
