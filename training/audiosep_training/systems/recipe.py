"""How a system is trained: what every recipe gives to the training that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from audiosep_training.data.batches import Batch

Network = TypeVar("Network", bound=nn.Module)
#: What a system is asked by, as a function of a text: (1, condition_size), or None.
Ask = Callable[[str], Tensor | None]


class Recipe(Generic[Network]):
    """From a batch to a loss, and to the system's answer.

    Attributes:
        network: What is trained; ``ss_model`` in checkpoints.
        companions: Networks that are kept in checkpoints beside it; the optimiser leaves them
            alone.
        alone: Whether it is bound to one process, in full precision.
    """

    alone = False

    def __init__(self, network: Network) -> None:
        self.network = network
        self.companions = nn.ModuleDict()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def loss(self, batch: Batch) -> Tensor:
        """What a step minimises, a scalar."""
        raise NotImplementedError

    def separate(self, batch: Batch) -> Tensor:
        """The estimate of every target: (batch, 1, samples) float32."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What a checkpoint has to hold so that the network can be built and asked again."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs beside the weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""


class Frozen(Generic[Network]):
    """A network that a recipe uses and nobody trains: in no checkpoint, and never copied."""

    def __init__(self, network: Network) -> None:
        self._network: Network = network.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen[Network]:
        # A running average of weights copies the module that holds this.
        return self

    def on(self, device: torch.device) -> Network:
        """The network, moved there."""
        return self._network.to(device)
