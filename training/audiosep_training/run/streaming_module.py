"""The training step of a streaming network, for Lightning."""

from __future__ import annotations

import torch
from torch import Tensor

from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_core.model.waveform_network import WaveformNetwork
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.sounds import SAMPLE_RATE
from audiosep_training.run.module import TrainedModule
from audiosep_training.run.streaming import make_optimiser, step_loss


class StreamingModule(TrainedModule):
    """A streaming network with its loss and its optimiser; queries come with the batches.

    Args:
        config: The training.
    """

    #: (batch, recurrent): what the examples of the batch before left in the network's memory.
    past: Tensor

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config)
        assert isinstance(config.network, StreamingConfig)
        net = StreamingNetwork(config.network)
        self.ss_model: StreamingNetwork = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.separator = WaveformNetwork(self.ss_model, SAMPLE_RATE)
        # Part of the state, so that a resumed run goes on as if it had not stopped.
        self.register_buffer("past", torch.zeros(config.data.batch, config.network.recurrent))

    def separate(self, batch: Batch) -> Tensor:
        """The estimate of every target: (batch, 1, samples) float32."""
        return self.separator.separate(batch["mixture"][:, 0], batch["condition"])[:, None]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        chance = Chance(self.device, self.config.seed, self.global_rank, self.global_step)
        found, after = step_loss(
            self.separator,
            batch["mixture"][:, 0],
            batch["target"][:, 0],
            batch["condition"],
            batch["bandwidth"],
            self.past,
            chance,
        )
        self.past.copy_(after)
        self.log("loss", found.loss, prog_bar=True, batch_size=len(batch["mixture"]))
        return found.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return make_optimiser(self.parameters(), self.config.optimiser)
