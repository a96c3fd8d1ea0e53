"""What a stream is asked to do, as values: queries with their levels, and the form of its audio.

Whoever separates holds one :class:`Settings` and replaces it whole when another takes effect. A
change on its way is a :class:`Delta`; :meth:`Settings.changed` folds it in.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import ModeError, QueryError
from audiosep_core.query.examples import Example
from audiosep_core.query.text import check_queries
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.windows import Steps, Windows, WindowSeconds

#: Gains in dB beyond this are mistakes.
_MOST_GAIN_DB = 60.0

ModeName = Literal["render", "mix", "track", "live"]
Mode = ModeName | Windows | WindowSeconds | Steps
Outputs = Literal["target", "target+residual", "stems"]


@dataclasses.dataclass(frozen=True)
class Query:
    """A query and what becomes of its stem.

    Attributes:
        text: The sound, in words; in the form in which it is embedded. With ``like`` or ``video``
            only the stem's name, that of the file unless it is given.
        like: A sound file like what is wanted, which asks instead of the words; for models that
            hear (of CLAP).
        video: A video, or a picture, of what is wanted, which asks instead of the words; for
            models that see (of CLIP).
        gain_db: Level of the stem in dB, up to 60; minus infinity silences it.
        mute: Silence the stem.
        solo: Silence all stems that are not solo.
        negative: Take what this query claims out of all stems, instead of making one of it.

    Raises:
        QueryError: The text is empty or too long, or no text; or it is asked by two files.
        ValueError: The gain is not a number, or over 60 dB.
    """

    text: str = ""
    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False
    negative: bool = False
    like: str = ""
    video: str = ""

    def __post_init__(self) -> None:
        if self.like and self.video:
            raise QueryError("a query asks by a sound or by a video, not by both; make two of them")
        for field in ("like", "video"):
            object.__setattr__(self, field, str(getattr(self, field)))
        file = self.like or self.video
        (text,) = check_queries([self.text or (Path(file).stem if file else "")])
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "gain_db", _check_gain("gain_db", self.gain_db))

    @property
    def asked(self) -> str | Example:
        """What is to be embedded: the text, or the file that stands for it."""
        if self.like:
            return Example(self.like, "sound")
        return Example(self.video, "video") if self.video else self.text


#: What a caller may give where queries are asked for.
Queries = Sequence[Query | str] | Query | str


@dataclasses.dataclass(frozen=True, init=False)
class Settings:
    """What is separated, and how.

    Args:
        queries: Texts, or texts with levels; a text alone is a stem at 0 dB.

    Attributes:
        queries: Those of the stems and the negative ones, in the order given.
        strength: Exponent of the magnitude masks, over 0 and up to 10: over 1 separates harder,
            under 1 softer.
        remainder_db: Level in dB, in the target, of what no stem claims.
        plain_masks: Where stems overlap, leave their masks as the network gives them, so that
            they may sum to more than the mixture; otherwise they share it.

    Raises:
        QueryError: There is no query, one is empty or too long, or all are negative.
        ValueError: The strength or a level is impossible.
    """

    queries: tuple[Query, ...]
    strength: float
    remainder_db: float
    plain_masks: bool

    def __init__(
        self,
        queries: Queries,
        strength: float = 1.0,
        remainder_db: float = -math.inf,
        plain_masks: bool = False,
    ) -> None:
        object.__setattr__(self, "queries", list_queries(queries))
        object.__setattr__(self, "strength", _check_strength(strength))
        object.__setattr__(self, "remainder_db", _check_gain("remainder_db", remainder_db))
        object.__setattr__(self, "plain_masks", bool(plain_masks))

    @classmethod
    def of(
        cls,
        asked: Queries | Settings,
        strength: float | None = None,
        remainder_db: float | None = None,
    ) -> Settings:
        """Settings however they were given: as such, or as queries; None is what they say."""
        settings = asked if isinstance(asked, Settings) else cls(asked)
        return settings.changed(Delta(None, strength, remainder_db))

    def changed(self, delta: Delta) -> Settings:
        """These settings with a change folded in; what it does not name stays."""
        return dataclasses.replace(self, **delta.named())

    @property
    def stems(self) -> tuple[Query, ...]:
        """The queries that make a stem each."""
        return tuple(query for query in self.queries if not query.negative)

    @property
    def texts(self) -> list[str]:
        """The queries' texts, in their order."""
        return [query.text for query in self.queries]

    @property
    def asked(self) -> list[str | Example]:
        """What is to be embedded, in the order of the queries: texts, or files."""
        return [query.asked for query in self.queries]

    def selection(self, embeddings: NDArray[np.float32]) -> Selection:
        """What the masks are made with: gains, mutes and solos resolved.

        Args:
            embeddings: (queries, condition_size), of ``texts``.
        """
        negative = np.array([query.negative for query in self.queries])
        solo = any(query.solo for query in self.stems)
        gains = [
            0.0 if query.mute or (solo and not query.solo) else _linear(query.gain_db)
            for query in self.stems
        ]
        return Selection(
            embeddings[~negative],
            np.array(gains, np.float32),
            embeddings[negative],
            self.strength,
            _linear(self.remainder_db),
            self.plain_masks,
        )


@dataclasses.dataclass(frozen=True, init=False)
class Delta:
    """A change of :class:`Settings`; None is what stays. Arguments and errors are theirs."""

    queries: tuple[Query, ...] | None
    strength: float | None
    remainder_db: float | None

    def __init__(
        self,
        queries: Queries | None = None,
        strength: float | None = None,
        remainder_db: float | None = None,
    ) -> None:
        if strength is not None:
            strength = _check_strength(strength)
        if remainder_db is not None:
            remainder_db = _check_gain("remainder_db", remainder_db)
        listed = None if queries is None else list_queries(queries)
        object.__setattr__(self, "queries", listed)
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "remainder_db", remainder_db)

    def named(self) -> dict[str, Any]:
        """What changes, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class StreamFormat:
    """The form of a stream; another form is another stream.

    Attributes:
        sample_rate: In Hz, a whole number of at least 1,000.
        channels: Of the mixture and of every signal that comes out, at least 1.
        mode: "render", "mix", "track", "live", or windows of one's own.
        outputs: "target", the sum of the stems at their gains; "target+residual"; or "stems",
            every stem at its gain and, last, the residual.

    Raises:
        ModeError: There is no such mode.
        ValueError: Another value is impossible.
    """

    sample_rate: int
    channels: int
    mode: Mode = "mix"
    outputs: Outputs = "target"

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_rate", check_sample_rate(self.sample_rate))
        if not isinstance(self.channels, numbers.Integral) or self.channels < 1:
            raise ValueError(
                f"channels must be a whole number of at least 1, not {self.channels!r}"
            )
        object.__setattr__(self, "channels", int(self.channels))
        if self.outputs not in get_args(Outputs):
            raise ValueError(
                f"outputs must be 'target', 'target+residual' or 'stems', not {self.outputs!r}"
            )
        grouping = Windows | WindowSeconds | Steps
        if not isinstance(self.mode, grouping) and self.mode not in get_args(ModeName):
            raise ModeError(
                "mode must be 'render', 'mix', 'track', 'live', WindowSeconds or Windows, "
                f"not {self.mode!r}"
            )

    def rows(self, settings: Settings) -> int:
        """Signals that come out, each with all channels."""
        if self.outputs == "stems":
            return len(settings.stems) + 1
        return 1 if self.outputs == "target" else 2

    def check_change(self, settings: Settings, other: Settings) -> None:
        """Refuse settings that a stream of this form cannot change to while it runs.

        Raises:
            ValueError: With ``outputs="stems"``, the number of stems would change.
        """
        have, want = len(settings.stems), len(other.stems)
        if self.outputs == "stems" and have != want:
            raise ValueError(
                f"the stream has {have} stems, not {want}; open another one for as many, or mute "
                "some"
            )


def list_queries(queries: Queries) -> tuple[Query, ...]:
    """Queries however they were given.

    Raises:
        QueryError: No query makes a stem, or one is empty or too long.
    """
    if isinstance(queries, Query | str):
        queries = [queries]
    listed = tuple(query if isinstance(query, Query) else Query(query) for query in queries)
    if not listed:
        raise QueryError("no query was given; describe at least one sound in words")
    if all(query.negative for query in listed):
        raise QueryError("every query is negative; describe at least one sound to separate")
    return listed


def check_sample_rate(sample_rate: float) -> int:
    """A sample rate as a whole number.

    Raises:
        ValueError: It is not a whole number from 1,000 to 1,536,000.
    """
    if not 1_000 <= sample_rate <= 1_536_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample_rate must be a whole number of Hz from 1000, not {sample_rate!r}")
    return int(sample_rate)


def _check_strength(strength: float) -> float:
    if not (isinstance(strength, numbers.Real) and 0 < strength <= 10):
        raise ValueError(f"strength must be a number over 0 and up to 10, not {strength!r}")
    return float(strength)


def _check_gain(name: str, gain_db: float) -> float:
    if not isinstance(gain_db, numbers.Real) or not gain_db <= _MOST_GAIN_DB:
        raise ValueError(f"{name} must be a number of dB up to {_MOST_GAIN_DB:g}, not {gain_db!r}")
    return float(gain_db)


def _linear(gain_db: float) -> float:
    return float(10 ** (gain_db / 20))
