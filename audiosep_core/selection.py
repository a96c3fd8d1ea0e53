"""What is separated at a time: queries with their levels, and the arithmetic of their masks."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import QueryError
from audiosep_core.queries import QueryEncoder, check_queries

#: Gains in dB beyond this are mistakes.
_MOST_GAIN_DB = 60.0


@dataclasses.dataclass(frozen=True)
class Query:
    """A query and what becomes of its stem.

    Attributes:
        text: The sound, in words.
        gain_db: Level of the stem in dB, up to 60; minus infinity silences it.
        mute: Silence the stem.
        solo: Silence all stems that are not solo.
        negative: Take what this query claims out of all stems, instead of making one of it.

    Raises:
        ValueError: The gain is not a number, or over 60 dB.
    """

    text: str
    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False
    negative: bool = False

    def __post_init__(self) -> None:
        check_gain("gain_db", self.gain_db)


#: What a caller may give where queries are asked for.
Queries = Sequence[Query | str] | Query | str


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """The conditions of a set of queries, and how their masks become stems.

    Attributes:
        conditions: (queries, condition_size) embeddings of the stems' queries.
        gains: (queries,) linear gains of the stems; all one by default.
        negative: (negatives, condition_size) embeddings of what is taken out of all stems.
        strength: Exponent of every stem's magnitude mask: over 1 separates harder, under 1
            softer.
        remainder: Linear gain, in the target, of what no stem claims.
    """

    conditions: NDArray[np.float32]
    gains: NDArray[np.float32]
    negative: NDArray[np.float32]
    strength: float = 1.0
    remainder: float = 0.0

    @classmethod
    def plain(cls, conditions: NDArray[np.float32]) -> Selection:
        """One stem for each of (queries, condition_size) embeddings, as the network gives it."""
        return cls(conditions, np.ones(len(conditions), np.float32), conditions[:0])

    @property
    def all_conditions(self) -> NDArray[np.float32]:
        """(queries + negatives, condition_size): what the network is asked."""
        return np.concatenate([self.conditions, self.negative])

    def rows(self, summed: bool) -> int:
        """How many signals :meth:`arrange` makes masks for."""
        return 1 if summed else len(self.gains)

    def arrange(
        self, masks: NDArray[np.float32], summed: bool
    ) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Turn the network's masks into factors for the mixture's spectrum.

        Every stem's magnitude mask is raised to ``strength`` and multiplied by one minus each
        negative query's mask.

        Args:
            masks: (queries + negatives, 3, frames, bins) of ``all_conditions``.
            summed: Give the target (the stems at their gains, and the remainder) instead of
                every stem at its gain.

        Returns:
            Factors (rows, frames, bins), and for what lies above the model's band the gains
            (rows, frames): the mean of the magnitude mask over the top octave.
        """
        count = len(self.gains)
        level = masks[:count, 0]
        if self.strength != 1:
            level = level**self.strength
        for negative in masks[count:, 0]:
            level = level * (1 - negative)
        factors = np.empty(level.shape, np.complex64)
        np.multiply(level, masks[:count, 1], out=factors.real)
        np.multiply(level, masks[:count, 2], out=factors.imag)
        top = level[..., level.shape[-1] // 2 :].mean(-1, dtype=np.float32)
        if not summed:
            return factors * self.gains[:, None, None], top * self.gains[:, None]
        # Gains g and a remainder r: r (1 - sum of stems) + sum of g stems.
        rest = np.float32(self.remainder)
        weights = self.gains - rest
        target: NDArray[np.complex64] = np.einsum("q,qfb->fb", weights, factors) + rest
        return target[None], (weights @ top + rest)[None]

    def all_pass(
        self, frames: int, bins: int, summed: bool
    ) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """As :meth:`arrange`, for masks that nobody made: the target is the mixture.

        Of several stems each gets an equal share.
        """
        rows = self.rows(summed)
        factors = np.full((rows, frames, bins), 1 / rows, np.complex64)
        return factors, np.full((rows, frames), 1 / rows, np.float32)


def select(
    queries: Queries,
    encoder: QueryEncoder,
    strength: float = 1.0,
    remainder_db: float = -math.inf,
) -> Selection:
    """Embed queries and resolve their gains, mutes and solos.

    Args:
        queries: Texts, or texts with settings; a text alone is a stem at 0 dB.
        encoder: Of the model.
        strength: Exponent of the magnitude masks, over 0 and up to 10.
        remainder_db: Level in dB, in the target, of what no stem claims.

    Raises:
        QueryError: No query makes a stem, or one is empty or too long.
        ValueError: The strength or a gain is impossible.
    """
    check_levels(strength, remainder_db)
    listed = list_queries(queries)
    texts = [query.text for query in listed]
    positive = [row for row, query in enumerate(listed) if not query.negative]
    solo = any(listed[row].solo for row in positive)
    gains = [
        0.0 if listed[row].mute or (solo and not listed[row].solo) else _linear(listed[row].gain_db)
        for row in positive
    ]
    embeddings = encoder.embed(texts)
    negative = [row for row, query in enumerate(listed) if query.negative]
    return Selection(
        embeddings[positive],
        np.array(gains, np.float32),
        embeddings[negative],
        float(strength),
        _linear(remainder_db),
    )


def list_queries(queries: Queries) -> list[Query]:
    """Queries however they were given, their texts in the form in which they are embedded.

    Raises:
        QueryError: No query makes a stem, or one is empty or too long.
    """
    if isinstance(queries, Query | str):
        queries = [queries]
    listed = [query if isinstance(query, Query) else Query(query) for query in queries]
    texts = check_queries([query.text for query in listed])
    if all(query.negative for query in listed):
        raise QueryError("every query is negative; describe at least one sound to separate")
    return [
        dataclasses.replace(query, text=text) for query, text in zip(listed, texts, strict=True)
    ]


def check_levels(strength: float, remainder_db: float) -> None:
    """Refuse settings of masks that are impossible.

    Raises:
        ValueError: The strength is not over 0 and up to 10, or the remainder no number of dB.
    """
    if not (isinstance(strength, numbers.Real) and 0 < strength <= 10):
        raise ValueError(f"strength must be a number over 0 and up to 10, not {strength!r}")
    check_gain("remainder_db", remainder_db)


def check_gain(name: str, gain_db: float) -> None:
    """Refuse a gain that is no number of dB.

    Raises:
        ValueError: It is not a number, or over 60 dB.
    """
    if not isinstance(gain_db, numbers.Real) or not gain_db <= _MOST_GAIN_DB:
        raise ValueError(f"{name} must be a number of dB up to {_MOST_GAIN_DB:g}, not {gain_db!r}")


def _linear(gain_db: float) -> float:
    return float(10 ** (gain_db / 20))
