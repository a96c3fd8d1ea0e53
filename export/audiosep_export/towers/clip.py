"""CLIP's image tower as ``image_encoder.onnx``: queries by video for models that CLIP asks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from audiosep_core.model.bundle import IMAGE_ENCODER
from audiosep_core.model.checkpoint import CheckpointError
from audiosep_export.towers.tower import write_tower

#: Values of a ViT's attention head.
_HEAD_SIZE = 64
# Of CLIP's training images (Radford et al. 2021, released code).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)
# OpenAI's and open_clip's names; ``attn.in_proj`` and ``proj`` need more than a name.
_RENAMED = {
    r"visual\.conv1\.weight": "vision_model.embeddings.patch_embedding.weight",
    r"visual\.class_embedding": "vision_model.embeddings.class_embedding",
    r"visual\.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    r"visual\.ln_pre\.(.+)": r"vision_model.pre_layrnorm.\1",
    r"visual\.ln_post\.(.+)": r"vision_model.post_layernorm.\1",
    r"(vision_model\..+)\.attn\.out_proj\.(.+)": r"\1.self_attn.out_proj.\2",
    r"(vision_model\..+)\.ln_([12])\.(.+)": r"\1.layer_norm\2.\3",
    r"(vision_model\..+)\.mlp\.c_fc\.(.+)": r"\1.mlp.fc1.\2",
    r"(vision_model\..+)\.mlp\.c_proj\.(.+)": r"\1.mlp.fc2.\2",
}


def export_clip_image(weights: Mapping[str, Tensor], output: Path, heads: int = 0) -> float:
    """Write the image tower into a folder.

    The graph takes ``frames`` (uint8, [n, size, size, 3], red, green and blue) and gives
    ``embedding`` ([n, size]).

    Args:
        weights: A state dict of CLIP with a ViT, named as OpenAI, open_clip or transformers do.
        output: Folder to write to.
        heads: Attention heads; 0 for one for 64 values, as CLIP's have.

    Returns:
        The greatest cosine distance between graph and PyTorch.

    Raises:
        CheckpointError: They are not CLIP's, or not of a ViT.
        TowerError: The graph does not compute what PyTorch does.
    """
    module = _module(_transformers_names(weights), heads)
    size: Any = module.config.image_size
    generator = torch.Generator().manual_seed(0)
    frames = [
        torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
        for count in (2, 1, 5)
    ]
    return write_tower(_Seen(module), "frames", frames, output / IMAGE_ENCODER, True)


class _Seen(nn.Module):
    mean: Tensor
    spread: Tensor

    def __init__(self, module: transformers.CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(_MEAN))
        self.register_buffer("spread", torch.tensor(_SPREAD))

    def forward(self, frames: Tensor) -> Tensor:
        """(n, size, size, 3) to (n, size) of unit length."""
        pixels = ((frames.float() / 255 - self.mean) / self.spread).permute(0, 3, 1, 2)
        return nn.functional.normalize(self.module(pixel_values=pixels).image_embeds, dim=1)


def _module(
    weights: Mapping[str, Tensor], heads: int
) -> transformers.CLIPVisionModelWithProjection:
    try:
        patch = weights["vision_model.embeddings.patch_embedding.weight"]
        places = weights["vision_model.embeddings.position_embedding.weight"]
        side = round((len(places) - 1) ** 0.5)
        config = transformers.CLIPVisionConfig(
            hidden_size=len(patch),
            intermediate_size=len(weights["vision_model.encoder.layers.0.mlp.fc1.bias"]),
            num_hidden_layers=len({name for name in weights if name.endswith("q_proj.weight")}),
            num_attention_heads=heads or max(1, len(patch) // _HEAD_SIZE),
            image_size=side * patch.shape[-1],
            patch_size=patch.shape[-1],
            projection_dim=len(weights["visual_projection.weight"]),
        )
        module = transformers.CLIPVisionModelWithProjection(config)
        module.load_state_dict(dict(weights))
    except KeyError as error:
        raise CheckpointError(
            f"the image tower's weights hold no {error}; give a checkpoint of CLIP with a ViT"
        ) from None
    except (RuntimeError, ValueError) as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(
            f"the image tower's weights are not CLIP's ({detail[:300]}); give a checkpoint of CLIP"
        ) from None
    return module.float().eval()


def _transformers_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's weights under the names that transformers uses."""
    if any(name.startswith("vision_model.") for name in weights):
        return {
            name: value
            for name, value in weights.items()
            if name.startswith(("vision_model.", "visual_projection."))
            and not name.endswith("position_ids")
        }
    renamed = {}
    for name, value in weights.items():
        path = name.replace("visual.transformer.resblocks.", "vision_model.encoder.layers.")
        if name == "visual.proj":
            renamed["visual_projection.weight"] = value.T.contiguous()
        elif match := re.fullmatch(r"(vision_model\..+)\.attn\.in_proj_(weight|bias)", path):
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{match[1]}.self_attn.{part}_proj.{match[2]}"] = piece
        else:
            for old, new in _RENAMED.items():
                if match := re.fullmatch(old, path):
                    renamed[match.expand(new)] = value
    return renamed
