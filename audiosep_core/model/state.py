"""What a streaming network remembers from one step to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkState:
    """What a network remembers of every query it is asked; never changed, only replaced.

    Attributes:
        conditions: (queries, condition_size) embeddings.
        film: (queries, channels, 1, 1): what the network makes of them, once a query.
        tensors: The network's named tensors, (queries, ...) each.
    """

    conditions: NDArray[np.float32]
    film: NDArray[np.float32]
    tensors: dict[str, NDArray[np.float32]]

    def picked(self, rows: list[int] | slice) -> NetworkState:
        """Of these queries only."""
        return NetworkState(
            self.conditions[rows],
            self.film[rows],
            {name: part[rows] for name, part in self.tensors.items()},
        )

    def memory(self) -> NDArray[np.float32]:
        """(queries, values): all tensors of every query in one row, in the order of their names."""
        rows = len(self.conditions)
        return np.concatenate(
            [self.tensors[name].reshape(rows, -1) for name in sorted(self.tensors)], 1
        )

    def remembering(self, memory: NDArray[np.float32]) -> NetworkState:
        """With other tensors, of as many queries, as :meth:`memory` gives them.

        Raises:
            ValueError: They are of another network.
        """
        names = sorted(self.tensors)
        sizes = [self.tensors[name][0].size for name in names]
        if memory.shape != (len(self.conditions), sum(sizes)):
            raise ValueError(f"memory is {memory.shape}, of this network {sum(sizes)} a query")
        parts = np.split(memory, np.cumsum(sizes[:-1]), 1)
        tensors = {
            name: np.ascontiguousarray(part.reshape(self.tensors[name].shape))
            for name, part in zip(names, parts, strict=True)
        }
        return dataclasses.replace(self, tensors=tensors)

    @classmethod
    def joined(cls, states: Sequence[NetworkState]) -> NetworkState:
        """Of the queries of all states, one behind the other; at least one state."""
        if len(states) == 1:
            return states[0]
        return cls(
            np.concatenate([state.conditions for state in states]),
            np.concatenate([state.film for state in states]),
            {
                name: np.concatenate([state.tensors[name] for state in states])
                for name in states[0].tensors
            },
        )
