"""How SEGAN is trained: two players, one step each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.systems import build_system
from audiosep_training.systems.recipe import Recipe
from audiosep_training.systems.segan.losses import discriminator_loss, generator_loss
from audiosep_training.systems.segan.network import Segan, pre_emphasis


class SeganRecipe(Recipe[Segan]):
    """Speech in noise: the discriminator learns first, then the generator from it.

    The generator's step is the training's own; the discriminator has an optimiser here, which is
    why one process trains alone.

    Args:
        network: The generator.
        rate: The discriminator's learning rate.
    """

    alone = True

    def __init__(self, network: Segan, rate: float) -> None:
        super().__init__(network)
        self._judge = network.discriminator()
        self.companions["discriminator"] = self._judge
        self._optimiser = torch.optim.RMSprop(self._judge.parameters(), lr=rate)

    def loss(self, batch: Batch) -> Tensor:
        """The generator's, after the discriminator's step."""
        noisy, clean = pre_emphasis(batch["mixture"]), pre_emphasis(batch["target"])
        z = torch.randn(len(noisy), *self.network.shape.code, device=noisy.device)
        enhanced = self.network.generate(noisy, z)
        judged = discriminator_loss(
            self._judge(clean, noisy), self._judge(enhanced.detach(), noisy)
        )
        judged.backward()
        self._optimiser.step()
        self._optimiser.zero_grad()
        # It only passes gradients on to what it judges now.
        self._judge.requires_grad_(False)
        loss = generator_loss(self._judge(enhanced, noisy), enhanced, clean)
        self._judge.requires_grad_(True)
        return loss

    def separate(self, batch: Batch) -> Tensor:
        """The speech."""
        return self.network.separate(batch["mixture"][:, 0], None)[:, None]

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's optimiser."""
        return {"optimiser": self._optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._optimiser.load_state_dict(state["optimiser"])


def open_recipe(config: TrainingConfig) -> SeganRecipe:
    """The recipe with fresh weights."""
    network = build_system(config.system.name, **config.system.options)
    assert isinstance(network, Segan)
    return SeganRecipe(network, config.optimiser.rate)
