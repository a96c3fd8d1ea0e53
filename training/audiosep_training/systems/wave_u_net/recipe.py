"""How Wave-U-Net is trained."""

from __future__ import annotations

from torch import Tensor

from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.systems.recipe import Recipe
from audiosep_training.systems.wave_u_net.network import WaveUNet


class WaveUNetRecipe(Recipe[WaveUNet]):
    """Speech in noise, mean squared error of both."""

    def loss(self, batch: Batch) -> Tensor:
        """Of noise and speech."""
        mixture, speech = batch["mixture"][:, 0], batch["target"][:, 0]
        return self.network.loss(mixture - speech, speech)

    def separate(self, batch: Batch) -> Tensor:
        """The speech."""
        return self.network.separate(batch["mixture"][:, 0], None)[:, None]


def open_recipe(config: TrainingConfig) -> WaveUNetRecipe:
    """The recipe with fresh weights."""
    return WaveUNetRecipe(WaveUNet(**config.system.options))
