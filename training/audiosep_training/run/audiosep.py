"""How AudioSep is trained: one loss of the waveform, asked by a frozen encoder of queries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.network import SeparatorNetwork, build_network, freeze_unused
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.data.data_module import TrainingData
from audiosep_training.query_encoders import FrozenEncoder, open_encoder
from audiosep_training.run.losses import LOSSES
from audiosep_training.systems.recipe import Recipe


class AudioSepRecipe(Recipe[SeparatorNetwork]):
    """The released recipe.

    Args:
        config: The training.
        encoder: What embeds captions and sounds; None where the data bring conditions.
    """

    def __init__(self, config: TrainingConfig, encoder: FrozenEncoder | None = None) -> None:
        assert isinstance(config.network, SeparatorConfig)
        net = build_network(config.network)
        super().__init__(net.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        freeze_unused(self.network)
        self._config = config
        self._encoder = encoder
        self._loss = LOSSES[config.optimiser.loss]

    def loss(self, batch: Batch) -> Tensor:
        """As the configuration names it."""
        return self._loss(self.separate(batch), batch["target"])

    def separate(self, batch: Batch) -> Tensor:
        """What captions, sounds or videos ask for."""
        return self.network(batch["mixture"], self.condition(batch)).float()

    def condition(self, batch: Batch) -> Tensor:
        """The embeddings of a batch's queries: (batch, condition_size)."""
        if "condition" in batch:
            return batch["condition"]
        assert self._encoder is not None
        self._encoder.device = self.device
        if batch["by_sound"]:
            sounds = batch["target"][:, 0].float()
            return self._encoder.embed_sounds(sounds, self._config.sample_rate)
        rows = self._encoder.embed_queries(batch["captions"], batch["videos"])
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)


def fitting_encoder(config: TrainingConfig, data: TrainingData) -> FrozenEncoder | None:
    """The encoder that a training names; None where the data bring conditions.

    Raises:
        ConfigError: It does not fit the data or the network.
        UsageError: Its weights are not given or not there, or a package is missing.
        CheckpointError: They are another encoder's.
    """
    encoder = None
    if not data.condition_size:
        encoder = open_encoder(config.query)
    elif config.query.encoder != "sentence":
        raise ConfigError("a corpus brings queries of its own; set query.encoder = 'sentence'")
    size = encoder.size if encoder else data.condition_size
    if size != config.network.condition_size:
        raise ConfigError(
            f"the query encoder {config.query.encoder!r} gives {size} values; set "
            f"network.condition_size = {size}, not {config.network.condition_size}"
        )
    return encoder
