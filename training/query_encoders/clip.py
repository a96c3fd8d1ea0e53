"""CLIP: the paper's other encoder, which also asks by video."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.nn import functional as F

from audiosep_core.bundle import sha256
from audiosep_core.checkpoint import CheckpointError
from export.bpe_tokenizer import clip_tokenizer
from training.query_encoders.base import Embeddings, QueryEncoder

_AT_A_TIME = 64
# Of CLIP's training images (Radford et al. 2021, released code).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)


class ClipEncoder(QueryEncoder):
    """Texts by CLIP's text tower, videos by the mean of their frames in its image tower.

    Args:
        folder: What ``save_pretrained`` of transformers writes, with ``vocab.json`` and
            ``merges.txt``.

    Raises:
        CheckpointError: The folder holds no CLIP.
    """

    def __init__(self, folder: Path) -> None:
        try:
            model: Any = transformers.CLIPModel.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no CLIP ({str(error).splitlines()[0]}); give a folder as "
                "transformers saves it"
            ) from None
        weights = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.bin"))
        identity = " ".join(sha256(path) for path in weights)
        super().__init__(f"clip {identity}", model.config.projection_dim)
        self._model = model.float().eval()
        self._tokenizer = clip_tokenizer(folder / "vocab.json", folder / "merges.txt")

    @torch.no_grad()
    def _encode_texts(self, texts: list[str]) -> Embeddings:
        model = self._model.to(self.device)
        rows = []
        for text in texts:
            ids = torch.tensor([self._tokenizer.encode(text).ids], device=self.device)
            pooled = model.text_model(input_ids=ids).pooler_output
            rows.append(F.normalize(model.text_projection(pooled), dim=1)[0].cpu().numpy())
        return np.stack(rows)

    def _encode_videos(self, paths: list[Path]) -> Embeddings:
        size = self._model.config.vision_config.image_size
        return np.stack([self.embed_frames(read_frames(path, size)) for path in paths])

    @torch.no_grad()
    def embed_frames(self, frames: NDArray[np.uint8]) -> Embeddings:
        """(frames, height, width, 3) to (size,): the mean of unit embeddings, of unit length."""
        model = self._model.to(self.device)
        mean, spread = torch.tensor(_MEAN), torch.tensor(_SPREAD)
        embeddings = []
        for start in range(0, len(frames), _AT_A_TIME):
            part = torch.from_numpy(frames[start : start + _AT_A_TIME]).float() / 255
            pixels = ((part - mean) / spread).permute(0, 3, 1, 2).to(self.device)
            pooled = model.vision_model(pixel_values=pixels).pooler_output
            embeddings.append(F.normalize(model.visual_projection(pooled), dim=1))
        average = torch.cat(embeddings).mean(0)
        return F.normalize(average, dim=0).cpu().numpy()


def read_frames(path: Path, size: int) -> NDArray[np.uint8]:
    """Frames of a video at 1 s, the middle square of each: (frames, size, size, 3).

    Raises:
        CheckpointError: ffmpeg is missing, or cannot read the video.
    """
    scale = f"scale={size}:{size}:force_original_aspect_ratio=increase:flags=bicubic"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", f"fps=1,{scale},crop={size}:{size}"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise CheckpointError("queries by video need ffmpeg; install it") from None
    frames = np.frombuffer(done.stdout, np.uint8)
    if done.returncode or not frames.size:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise CheckpointError(f"{path} cannot be read as a video ({''.join(reason)}); leave it out")
    return frames.reshape(-1, size, size, 3).copy()
