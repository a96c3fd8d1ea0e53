"""The training step: a batch in, the loss of a recipe out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from audiosep_core.model.network import ResUNet, SeparatorNetwork
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_core.signal.metrics import sdr_improvement
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.run.schedule import rate_at
from audiosep_training.systems.recipe import Recipe

#: Computed, not learned: megabytes that a checkpoint need not carry.
_FOURIER = (".stft.", ".istft.")


class TrainedModule(LightningModule):
    """What networks of all forms have in common in training.

    The network is ``ss_model``, as in the released checkpoints, so that ``audiosep export`` reads
    what training writes.

    Args:
        config: The training.
    """

    ss_model: nn.Module

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self._sdri = MeanMetric()

    def separate(self, batch: Batch) -> Tensor:
        """The estimate of every target: (batch, 1, samples) float32."""
        raise NotImplementedError

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what a step depends on, its learning rate and its seed, from its number alone."""
        step = self.global_step
        rate = rate_at(step, self.config.optimiser, self.config.run.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        seed = np.random.SeedSequence([self.config.seed, self.global_rank, step])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The estimate; SDRi is averaged over all processes."""
        estimate = self.separate(batch)
        parts = (batch["target"], estimate, batch["mixture"])
        target, separated, mixture = (part[0, 0].float().cpu().numpy() for part in parts)
        self._sdri.update(sdr_improvement(target, separated, mixture))
        self.log("sdri", self._sdri, prog_bar=True, on_epoch=True, batch_size=1)
        return estimate

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the training in its checkpoint."""
        if _is_bundled(self.ss_model):
            checkpoint["config"] = self.ss_model.config.to_dict()  # type: ignore[operator, union-attr]
        checkpoint["training"] = self.config.to_dict()
        checkpoint["processes"] = self.trainer.world_size
        for weights in ("state_dict", "current_model_state"):
            if weights in checkpoint:
                checkpoint[weights] = {
                    name: value
                    for name, value in checkpoint[weights].items()
                    if not any(part in name for part in _FOURIER)
                }


class SeparationModule(TrainedModule):
    """A windowed network or a comparison system, with its recipe and its optimiser.

    Args:
        config: The training.
        recipe: Its loss.
    """

    def __init__(self, config: TrainingConfig, recipe: Recipe[Any]) -> None:
        super().__init__(config)
        self.recipe = recipe
        self.ss_model = recipe.network
        self.companions = recipe.companions

    def separate(self, batch: Batch) -> Tensor:
        """The estimate of every target: (batch, 1, samples) float32."""
        return self.recipe.separate(batch).float()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = self.recipe.loss(batch)
        self.log("loss", loss, prog_bar=True, batch_size=len(batch["mixture"]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Over all of the network that is trained."""
        chosen = self.config.optimiser
        trained = [weight for weight in self.ss_model.parameters() if weight.requires_grad]
        if chosen.kind == "rmsprop":
            return torch.optim.RMSprop(trained, lr=chosen.rate, weight_decay=chosen.weight_decay)
        return torch.optim.AdamW(
            trained,
            lr=chosen.rate,
            betas=(chosen.betas[0], chosen.betas[1]),
            weight_decay=chosen.weight_decay,
            amsgrad=chosen.amsgrad,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the training, and what its recipe keeps, in its checkpoint."""
        super().on_save_checkpoint(checkpoint)
        system = self.config.system
        if system.name:
            described = self.recipe.describe()
            options = {**system.options, **described.pop("options", {})}
            checkpoint["system"] = {"name": system.name, "options": options, **described}
        checkpoint["recipe"] = self.recipe.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the recipe back what it had."""
        self.recipe.load_state_dict(checkpoint.get("recipe", {}))


def _is_bundled(net: nn.Module) -> bool:
    """Whether a bundle can hold the network."""
    if isinstance(net, SeparatorNetwork):
        return type(net.base) is ResUNet
    return isinstance(net, StreamingNetwork)
