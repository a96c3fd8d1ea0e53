"""What a client asks of a stream, as it is said to the server."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from audiosep_core.errors import ModeError
from audiosep_core.selection import Queries, check_levels, list_queries
from audiosep_core.separator import check_sample_rate
from audiosep_core.windows import Windows
from plugin_bridge.engine import Outputs
from plugin_bridge.modes import Mode, WindowSeconds
from plugin_bridge.protocol.messages import Change, Contract, Open, QueryMessage, WindowMessage

#: In a change, the level that takes the remainder away; JSON has no infinity.
_NO_REMAINDER_DB = -200.0

#: Most frames in a message, unless asked otherwise.
MAX_BLOCK = 8192


@dataclasses.dataclass(frozen=True)
class StreamRequest:
    """Settings of a stream; what can be checked without a model is.

    Attributes:
        queries: What to separate.
        sample_rate: Of the stream in Hz, a whole number of at least 1,000.
        channels: Of the stream, at least 1.
        mode: "render", "mix", "track" or :class:`plugin_bridge.WindowSeconds`.
        contract: "realtime" or "render".
        outputs: As in :class:`plugin_bridge.StreamingSeparator`.
        strength: Exponent of the masks.
        remainder_db: Level in the target of what no stem claims.
        slack: Frames that an answer may take; None for what the server proposes, or in the
            contract "render" for none.
        max_block: Most frames in one message.
        model: Name of a model of the server; empty for its own.

    Raises:
        QueryError: A query is empty or too long, or all are negative.
        ModeError: The mode is given in a model's frames.
        ValueError: Another setting is impossible.
    """

    queries: Queries
    sample_rate: int
    channels: int
    mode: Mode = "mix"
    contract: Contract = "realtime"
    outputs: Outputs = "target"
    strength: float = 1.0
    remainder_db: float = -math.inf
    slack: int | None = None
    max_block: int = MAX_BLOCK
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_rate", check_sample_rate(self.sample_rate))
        if self.slack is None and self.contract == "render":
            object.__setattr__(self, "slack", 0)
        list_queries(self.queries)
        check_levels(self.strength, self.remainder_db)
        for name, least in (("channels", 1), ("max_block", 1), ("slack", 0)):
            value = getattr(self, name)
            if value is None and name == "slack":
                continue
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        for name, choices in (("contract", get_args(Contract)), ("outputs", get_args(Outputs))):
            if getattr(self, name) not in choices:
                named = " or ".join(map(repr, choices))
                raise ValueError(f"{name} must be {named}, not {getattr(self, name)!r}")
        if isinstance(self.mode, Windows):
            raise ModeError("over the bridge give windows in seconds, as WindowSeconds")

    @property
    def stems(self) -> int:
        """How many stems the queries make."""
        return sum(not query.negative for query in list_queries(self.queries))

    def message(self) -> Open:
        """What opens such a stream."""
        nothing = math.isinf(self.remainder_db)
        return Open(
            sample_rate=self.sample_rate,
            channels=self.channels,
            max_block=self.max_block,
            queries=_said(self.queries),
            mode=_mode(self.mode),
            contract=self.contract,
            outputs=self.outputs,
            strength=float(self.strength),
            remainder_db=None if nothing else float(self.remainder_db),
            slack=self.slack,
            model=self.model,
        )

    def change(self, position: int, changed: dict[str, Any]) -> Change:
        """What makes these settings of the running stream those of the request.

        Args:
            position: From which frame on.
            changed: The settings that are others than before, by name.
        """
        said = dict(changed)
        if "queries" in said:
            said["queries"] = _said(self.queries)
        if "remainder_db" in said:
            said["remainder_db"] = max(float(self.remainder_db), _NO_REMAINDER_DB)
        if "strength" in said:
            said["strength"] = float(self.strength)
        return Change(position, **said)


def _said(queries: Queries) -> list[QueryMessage]:
    listed = []
    for query in list_queries(queries):
        silent = math.isinf(query.gain_db)
        gain_db = 0.0 if silent else float(query.gain_db)
        listed.append(
            QueryMessage(query.text, gain_db, query.mute or silent, query.solo, query.negative)
        )
    return listed


def _mode(mode: Mode) -> str | WindowMessage:
    if isinstance(mode, WindowSeconds):
        return WindowMessage(float(mode.hop), float(mode.context), float(mode.look_ahead))
    return str(mode)
