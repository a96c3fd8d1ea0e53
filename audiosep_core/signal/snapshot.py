"""What a stream of a streaming network remembers, as bytes with which another one goes on."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
from numpy.typing import NDArray

#: Origin and position; the model; power and weight of the level; rows, and values of each.
_HEADER = struct.Struct("<QQ32sddII")
#: Of a condition's key.
_KEY_BYTES = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """What the network and the level before it know of all that they heard.

    A stream that begins at :attr:`origin`, has this and hears the same from there gives the same
    to the bit from :attr:`position` on.

    Attributes:
        origin: The frame of the time line at which the other stream has to begin.
        position: The first frame of the time line whose masks depend on all of this.
        power: Of the running level: the weighted sum of powers.
        weight: Of the running level: the sum of the weights.
        keys: What tells the conditions apart that the network is asked.
        memory: (conditions, values) float32: the network's tensors, a row for each condition.
    """

    origin: int
    position: int
    power: float
    weight: float
    keys: tuple[bytes, ...]
    memory: NDArray[np.float32]

    def encode(self, model_hash: str) -> bytes:
        """As bytes: first origin and position, each as 8 bytes, little-endian.

        Args:
            model_hash: Of the model, SHA-256 in hexadecimal digits; another one does not take it.
        """
        header = _HEADER.pack(
            self.origin,
            self.position,
            bytes.fromhex(model_hash),
            self.power,
            self.weight,
            *self.memory.shape,
        )
        return b"".join([header, *self.keys, self.memory.astype("<f4").tobytes()])

    @classmethod
    def decode(cls, data: bytes, model_hash: str) -> Snapshot:
        """What :meth:`encode` made.

        Raises:
            ValueError: It is of another model, or damaged.
        """
        if len(data) < _HEADER.size:
            raise ValueError(f"a snapshot has {_HEADER.size} bytes or more, not {len(data)}")
        origin, position, model, power, weight, rows, values = _HEADER.unpack_from(data)
        if model != bytes.fromhex(model_hash):
            raise ValueError("the snapshot is of another model; go on with the one that made it")
        keys_end = _HEADER.size + rows * _KEY_BYTES
        if len(data) != keys_end + 4 * rows * values:
            raise ValueError("the snapshot is damaged: it is not as long as it says")
        keys = data[_HEADER.size : keys_end]
        memory = np.frombuffer(data, "<f4", offset=keys_end).astype(np.float32)
        if not (np.isfinite(memory).all() and 0 <= power < np.inf and 0 < weight <= 1.001):
            raise ValueError("the snapshot is damaged: it holds what no stream remembers")
        return cls(
            origin,
            position,
            power,
            weight,
            tuple(keys[at : at + _KEY_BYTES] for at in range(0, len(keys), _KEY_BYTES)),
            memory.reshape(rows, values),
        )
