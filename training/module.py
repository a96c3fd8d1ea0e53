"""The training step: a mixture and a query in, the loss of the separated target out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric

from audiosep_core.network import SeparatorNetwork, build_network, is_unused_site
from training.batches import Batch
from training.config import TrainingConfig
from training.losses import LOSSES
from training.metrics import sdr_improvement
from training.query_encoders import QueryEncoder
from training.schedule import rate_at

#: Computed, not learned: megabytes that a checkpoint need not carry.
_FOURIER = (".stft.", ".istft.")
#: Bias of the cosine that a magnitude mask keeps; tanh and scaling make 1 of it.
_UPRIGHT = 1.0


class SeparationModule(LightningModule):
    """A network with its loss, its optimiser and its queries.

    The network is ``ss_model``, as in the released checkpoints, so that ``audiosep export`` reads
    what training writes.

    Args:
        config: The training.
        encoder: What embeds captions and sounds; None where the data bring conditions.
        query: An encoder that is trained along, instead.
    """

    def __init__(
        self,
        config: TrainingConfig,
        encoder: QueryEncoder | None = None,
        query: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.config = config
        self.encoder = encoder
        self.query = query
        net = build_network(config.network)
        self.ss_model: SeparatorNetwork = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        freeze_unused(self.ss_model)
        if config.mask == "magnitude":
            keep_phase(self.ss_model)
        self._loss = LOSSES[config.optimiser.loss]
        self._sdri = MeanMetric()

    def condition(self, batch: Batch) -> Tensor:
        """The embeddings of a batch's queries: (batch, condition_size)."""
        if "condition" in batch:
            return batch["condition"]
        if self.query is not None:
            return self.query(batch["captions"])
        assert self.encoder is not None
        self.encoder.device = self.device
        if batch["by_sound"]:
            sounds = batch["target"][:, 0].float().cpu().numpy()
            rows = self.encoder.embed_sounds(sounds, self.config.network.sample_rate)
        else:
            rows = self.encoder.embed_texts(batch["captions"])
            videos = batch["videos"] if self.config.query.video else []
            for row, video in enumerate(videos):
                if video:
                    rows[row] = self.encoder.embed_videos([Path(video)])[0]
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)

    def separate(self, batch: Batch) -> Tensor:
        """The estimate of every target: (batch, 1, samples) float32."""
        return self.ss_model(batch["mixture"], self.condition(batch)).float()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what a step depends on, its learning rate and its seed, from its number alone."""
        step = self.global_step
        rate = rate_at(step, self.config.optimiser, self.config.run.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        seed = np.random.SeedSequence([self.config.seed, self.global_rank, step])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss = self._loss(self.ss_model, self.separate(batch), batch["target"])
        self.log("loss", loss, prog_bar=True, batch_size=len(batch["mixture"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The estimate; SDRi is averaged over all processes."""
        estimate = self.separate(batch)
        parts = (batch["target"], estimate, batch["mixture"])
        target, separated, mixture = (part[0, 0].float().cpu().numpy() for part in parts)
        self._sdri.update(sdr_improvement(target, separated, mixture))
        self.log("sdri", self._sdri, prog_bar=True, on_epoch=True, batch_size=1)
        return estimate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over all that is trained."""
        chosen = self.config.optimiser
        return torch.optim.AdamW(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            lr=chosen.rate,
            betas=(chosen.betas[0], chosen.betas[1]),
            weight_decay=chosen.weight_decay,
            amsgrad=chosen.amsgrad,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the training in its checkpoint."""
        checkpoint["config"] = self.config.network.to_dict()
        checkpoint["training"] = self.config.to_dict()
        checkpoint["processes"] = self.trainer.world_size
        for weights in ("state_dict", "current_model_state"):
            if weights in checkpoint:
                checkpoint[weights] = {
                    name: value
                    for name, value in checkpoint[weights].items()
                    if not any(part in name for part in _FOURIER)
                }


def freeze_unused(net: SeparatorNetwork) -> None:
    """Take what the released forward pass ignores out of training.

    Processes that train together would wait for its gradients.
    """
    for path in net.film.sites:
        if is_unused_site(path):
            block, _ = path.split("->")
            net.film.get_submodule(path).requires_grad_(False)
            net.base.get_submodule(f"{block}.bn2").requires_grad_(False)


def keep_phase(net: SeparatorNetwork) -> None:
    """Turn the complex mask into a magnitude mask: the rotation is held at none.

    The weights that compute it are zeroed and get no gradient, so that the network stays one
    that every part of the project can read.
    """
    bands = net.config.bands
    last = net.base.after_conv
    assert last.bias is not None
    with torch.no_grad():
        last.weight[bands:] = 0
        last.bias[bands:] = 0
        last.bias[bands : 2 * bands] = _UPRIGHT

    def only_magnitude(gradient: Tensor) -> Tensor:
        kept = gradient.clone()
        kept[bands:] = 0
        return kept

    last.weight.register_hook(only_magnitude)
    last.bias.register_hook(only_magnitude)
