"""CLAP's audio branch (HTSAT, Chen et al. 2022) in PyTorch, from laion-clap's weights.

The network is that of transformers, which computes the same; laion-clap itself is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_core.model.checkpoint import CheckpointError

#: Rate in Hz that the branch hears at.
RATE = 48_000
#: Samples that it hears: ten seconds.
SAMPLES = 480_000
_WINDOW, _HOP = 1024, 480
_FLOOR = 1e-10
_WINDOW_SIZE = 8
_BRANCH = re.compile(r".*?\b((?:audio_branch|audio_projection)\..+)")
_MEL = "audio_branch.logmel_extractor.melW"
#: Not part of what gives the embedding, or made anew.
_LEFT_OUT = re.compile(
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*"
    r"|.*\.(attn_mask|relative_position_index)"
)
_ATTENTION = re.compile(r"(.*)\.attn\.qkv\.(weight|bias)")
_RENAMED = (
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"^audio_projection\.0\.", "audio_projection.linear1."),
    (r"^audio_projection\.2\.", "audio_projection.linear2."),
    (r"\.bn0\.", ".batch_norm."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative_position_bias_table$", ".attention.self.relative_position_bias_table"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)


def audio_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """CLAP's audio branch and its projection, named as in laion-clap; empty if there is none.

    Args:
        content: A Lightning checkpoint that holds its query encoder, as the released AudioSep's
            does, laion-clap's own checkpoint, or a plain state dict.

    Returns:
        Tensors named ``audio_branch.*`` and ``audio_projection.*``.
    """
    state = content.get("state_dict", content)
    found = {_BRANCH.fullmatch(name): value for name, value in state.items()}
    return {
        match[1]: value
        for match, value in found.items()
        if match is not None and isinstance(value, Tensor)
    }


class ClapAudio(nn.Module):
    """Sounds to embeddings, beside those of :class:`ClapEncoder`'s texts.

    Args:
        weights: As :func:`audio_weights` finds them; they tell the sizes.

    Raises:
        CheckpointError: A weight is missing, unknown or of another shape.
    """

    mel: Tensor
    window: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        try:
            self.register_buffer("mel", weights[_MEL].float(), persistent=False)
            config = _config(weights)
            model = transformers.ClapAudioModelWithProjection(config)
            tables = {k: v for k, v in model.state_dict().items() if _LEFT_OUT.fullmatch(k)}
            model.load_state_dict(tables | _renamed(weights))
        except KeyError as error:
            raise CheckpointError(
                f"the checkpoint holds no {error}; give laion-clap's, with CLAP's audio branch"
            ) from None
        except RuntimeError as error:
            detail = str(error).splitlines()[1].strip()[:300]
            raise CheckpointError(
                f"the audio branch's weights are not CLAP's ({detail}); give laion-clap's "
                "checkpoint"
            ) from None
        self.size: int = config.projection_dim
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        self.model: Any = model.float().eval()

    def features(self, audio: Tensor) -> Tensor:
        """Decibels in mel bands.

        Args:
            audio: (batch, samples) float32 at 48 kHz; repeated in whole to fill ten seconds, and
                cut after that.

        Returns:
            (batch, 1, 1001, 64).
        """
        copies = max(1, SAMPLES // max(1, audio.shape[-1]))
        audio = audio.repeat(1, copies)
        audio = F.pad(audio, (0, SAMPLES - audio.shape[-1]))
        spectrum = torch.stft(audio, _WINDOW, _HOP, window=self.window, return_complex=True)
        return self.decibels(torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2))

    def decibels(self, power: Tensor) -> Tensor:
        """Power spectrograms (batch, 1001, 513) to decibels in mel bands (batch, 1, 1001, 64)."""
        return 10 * torch.log10((power @ self.mel).clamp_min(_FLOOR))[:, None]

    def embed(self, features: Tensor) -> Tensor:
        """What :meth:`features` gives to (batch, size) of unit length."""
        long = torch.zeros(len(features), 1, dtype=torch.bool, device=features.device)
        output = self.model(input_features=features, is_longer=long)
        return F.normalize(output.audio_embeds, dim=1)

    def forward(self, audio: Tensor) -> Tensor:
        """(batch, samples) float32 at 48 kHz to (batch, size) of unit length."""
        return self.embed(self.features(audio))


def _config(weights: Mapping[str, Tensor]) -> transformers.ClapAudioConfig:
    table = re.compile(r"audio_branch\.layers\.(\d+)\.blocks\.(\d+)\..*bias_table")
    depths: dict[int, int] = {}
    heads: dict[int, int] = {}
    for name, value in weights.items():
        match = table.fullmatch(name)
        if match is not None:
            layer = int(match[1])
            depths[layer] = depths.get(layer, 0) + 1
            heads[layer] = value.shape[1]
    return transformers.ClapAudioConfig(
        window_size=_WINDOW_SIZE,
        patch_embeds_hidden_size=len(weights["audio_branch.patch_embed.norm.weight"]),
        hidden_size=len(weights["audio_branch.norm.weight"]),
        depths=[depths[layer] for layer in sorted(depths)],
        num_attention_heads=[heads[layer] for layer in sorted(heads)],
        num_hidden_layers=len(depths),
        projection_dim=len(weights["audio_projection.2.bias"]),
        enable_fusion=False,
    )


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by transformers' names."""
    named: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _LEFT_OUT.fullmatch(name):
            continue
        attention = _ATTENTION.fullmatch(name)
        if attention is None:
            named[_rename(name)] = value
            continue
        place = f"{_rename(attention[1])}.attention.self"
        for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
            named[f"{place}.{part}.{attention[2]}"] = rows
    return named


def _rename(name: str) -> str:
    for old, new in _RENAMED:
        name = re.sub(old, new, name)
    return name
