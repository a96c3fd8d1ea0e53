"""How CLIPSep is trained, on pairs of videos, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.data.batches import Batch, DataError
from audiosep_training.query_encoders.clip import ClipEncoder
from audiosep_training.query_encoders.opening import existing
from audiosep_training.systems import build_system
from audiosep_training.systems.clipsep.losses import clipsep_loss
from audiosep_training.systems.clipsep.network import ClipSep
from audiosep_training.systems.recipe import Ask, Recipe

_FOLDER = "CLIP's folder"
#: What :func:`open_ask` knows.
OPTIONS = ("text",)
#: A text stands for the mean of these.
PROMPTS = (
    "a photo of {}.",
    "a photo of the small {}.",
    "a low resolution photo of a {}.",
    "a photo of many {}.",
)


class ClipSepRecipe(Recipe[ClipSep]):
    """Both sources of every mixture are asked for, by their videos where the batch has them.

    Args:
        network: CLIPSep or CLIPSep-NIT.
        encoder: CLIP, its embeddings as they are.
    """

    def __init__(self, network: ClipSep, encoder: ClipEncoder) -> None:
        super().__init__(network)
        self._encoder = encoder

    def loss(self, batch: Batch) -> Tensor:
        """Of the masks of both sources."""
        mixture, target = batch["mixture"][:, 0], batch["target"][:, 0]
        if "partner" not in batch:
            raise DataError(
                "CLIPSep asks for both sources of a mixture; train it on clips without a "
                "'mixture' of their own"
            )
        asked = self._condition(batch)
        sources = torch.stack([target, mixture - target], 1)
        conditions = torch.stack([asked, asked[batch["partner"]]], 1)
        return clipsep_loss(self.network, sources, conditions)

    def separate(self, batch: Batch) -> Tensor:
        """What captions or videos ask for."""
        return self.network.separate(batch["mixture"][:, 0], self._condition(batch))[:, None]

    def _condition(self, batch: Batch) -> Tensor:
        self._encoder.device = self.device
        rows = self._encoder.embed_queries(batch["captions"], batch["videos"])
        return torch.from_numpy(rows).to(self.device)


def open_recipe(config: TrainingConfig) -> ClipSepRecipe:
    """The recipe with fresh weights.

    Raises:
        ConfigError: More than two sources are mixed, or examples do not fill the U-Net.
        UsageError: ``query.checkpoint`` is not set or not there.
        CheckpointError: It holds no CLIP.
    """
    if config.mixing.max_mix_num != 2:
        raise ConfigError("CLIPSep is trained on two sources; set mixing.max_mix_num = 2")
    network = build_system(config.system.name, **config.system.options)
    assert isinstance(network, ClipSep)
    network.check_length(config.data.segment_samples)
    folder = existing(config.query.checkpoint, "query.checkpoint", _FOLDER)
    return ClipSepRecipe(network, ClipEncoder(folder, raw=True))


def open_ask(network: ClipSep, stored: Mapping[str, Any], options: Mapping[str, str]) -> Ask:
    """How the network is asked.

    Args:
        network: In evaluation mode.
        stored: Not needed.
        options: ``text``: CLIP's folder.

    Raises:
        CheckpointError: It is not given, or holds no CLIP.
    """
    if "text" not in options:
        raise CheckpointError(
            f"CLIPSep is asked through CLIP; give {_FOLDER}, as in --compare "
            "'clipsep=best_model.pt(text=clip-vit-base-patch32)'"
        )
    encoder = ClipEncoder(Path(options["text"]), raw=True)

    def ask(text: str) -> Tensor:
        rows = encoder.embed_texts([prompt.format(text) for prompt in PROMPTS])
        return torch.from_numpy(rows).mean(0, keepdim=True)

    return ask
