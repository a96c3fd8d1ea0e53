"""What is separated at a time: embeddings with their gains, and the arithmetic of their masks."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.overlap import repeats, shared

#: Factors (frames, bins) of a stem, and gains above the model's band (frames,).
Factors = tuple[NDArray[np.complex64], NDArray[np.float32]]
#: Those of every stem, by the key of its condition.
StemFactors = dict[bytes, Factors]


def condition_key(condition: NDArray[np.float32]) -> bytes:
    """What tells a condition apart: 16 bytes that say nothing of it."""
    return hashlib.blake2b(condition.tobytes(), digest_size=16).digest()


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The conditions of a set of queries, and how their masks become stems.

    Attributes:
        conditions: (queries, condition_size) embeddings of the stems' queries.
        gains: (queries,) linear gains of the stems; all one by default.
        negative: (negatives, condition_size) embeddings of what is taken out of all stems.
        strength: Exponent of every stem's magnitude mask: over 1 separates harder, under 1
            softer.
        remainder: Linear gain, in the target, of what no stem claims; stems share it equally.
        plain_masks: Leave masks that overlap as the network gives them, even if stems sum to more
            than the mixture.
    """

    conditions: NDArray[np.float32]
    gains: NDArray[np.float32]
    negative: NDArray[np.float32]
    strength: float = 1.0
    remainder: float = 0.0
    plain_masks: bool = False

    @classmethod
    def plain(cls, conditions: NDArray[np.float32]) -> Selection:
        """One stem for each of (queries, condition_size) embeddings, as the network gives it."""
        gains = np.ones(len(conditions), np.float32)
        return cls(conditions, gains, conditions[:0], plain_masks=True)

    @functools.cached_property
    def keys(self) -> tuple[bytes, ...]:
        """What tells the stems' conditions apart, one a stem."""
        return tuple(condition_key(condition) for condition in self.conditions)

    @functools.cached_property
    def negative_keys(self) -> tuple[bytes, ...]:
        """What tells the negative queries' conditions apart."""
        return tuple(condition_key(condition) for condition in self.negative)

    @functools.cached_property
    def asked(self) -> dict[bytes, NDArray[np.float32]]:
        """Every condition that the network is asked, once: stems first, then negatives."""
        return {condition_key(condition): condition for condition in self.all_conditions}

    @property
    def all_conditions(self) -> NDArray[np.float32]:
        """(queries + negatives, condition_size), as they were given."""
        return np.concatenate([self.conditions, self.negative])

    def same_masks(self, other: Selection) -> bool:
        """Whether only levels tell it from another one."""
        return (
            self.keys == other.keys
            and self.strength == other.strength
            and self.plain_masks == other.plain_masks
            and np.array_equal(self.negative, other.negative)
        )

    def rows(self, summed: bool) -> int:
        """How many signals the stems are mixed to."""
        return 1 if summed else len(self.gains)

    def weights(self, summed: bool) -> tuple[dict[bytes, NDArray[np.float32]], NDArray[np.float32]]:
        """The levels of the stems, and of the mixture, in every row.

        Summed, the one row is the target: with gains g and a remainder r, the sum of g stems and
        r times what they leave of the mixture. Otherwise each stem at its gain is a row, with its
        share of the remainder; the rows sum to the target. A query that comes several times is
        one query, whose stems share its sound.

        Returns:
            For every condition of a stem (rows,), and (rows,) of the mixture.
        """
        rest = np.float32(self.remainder)
        if summed:
            mixture = np.array([rest], np.float32)
            columns = (self.gains - rest)[:, None]
        else:
            heard = (self.gains > 0) | ~self.gains.any()
            # A stem that is silent gets none of the remainder, unless all are.
            mixture = (rest / heard.sum() * heard).astype(np.float32)
            columns = np.diag(self.gains) - mixture
        columns = columns / repeats(self.conditions)[:, None]
        weights: dict[bytes, NDArray[np.float32]] = {}
        for key, column in zip(self.keys, columns, strict=True):
            weights[key] = weights[key] + column if key in weights else column
        return weights, mixture

    def shaped(self, masks: Mapping[bytes, NDArray[np.float32]]) -> StemFactors:
        """Turn the network's masks into factors for the mixture's spectrum.

        Every stem's magnitude mask is raised to ``strength`` and multiplied by one minus each
        negative query's mask; where stems then sum to more than one, they share the mixture, unless
        ``plain_masks``. Gains are no part of it: they are levels of the stems' sound.

        Args:
            masks: (3, frames, bins) of every condition of :attr:`asked`.

        Returns:
            For every condition of a stem the factors (frames, bins), and for what lies above the
            model's band the gains (frames,): the mean of the magnitude mask over the top octave.
        """
        keys = list(dict.fromkeys(self.keys))
        level = np.array([masks[key][0] for key in keys])
        if self.strength != 1:
            level = level**self.strength
        for key in self.negative_keys:
            level = level * (1 - masks[key][0])
        if not self.plain_masks:
            level = shared(level)
        tops = level[..., level.shape[-1] // 2 :].mean(-1, dtype=np.float32)
        factors = np.empty(level.shape, np.complex64)
        for row, key in enumerate(keys):
            np.multiply(level[row], masks[key][1], out=factors[row].real)
            np.multiply(level[row], masks[key][2], out=factors[row].imag)
        return dict(zip(keys, zip(factors, tops, strict=True), strict=True))
