"""What is asked of a stream, as values on both sides, and how it is said on the wire."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from audiosep_core.errors import ModeError, QueryError
from audiosep_core.settings import Delta, Mode, Outputs, Queries, Query, Settings, StreamFormat
from audiosep_core.signal.windows import Windows, WindowSeconds
from plugin_bridge.protocol.messages import Change, Contract, Open, QueryMessage, WindowMessage

#: In a change, the level that takes the remainder away; JSON has no infinity.
_NO_REMAINDER_DB = -200.0

#: Most frames in a message, unless asked otherwise.
MAX_BLOCK = 8192


@dataclasses.dataclass(frozen=True)
class StreamDelta:
    """A change of a stream; None is what stays.

    Attributes:
        settings: What changes of what is separated.
        contract: "realtime" or "render".
        mode: Another one; the stream then starts anew.
    """

    settings: Delta = dataclasses.field(default_factory=Delta)
    contract: Contract | None = None
    mode: Mode | None = None

    def __post_init__(self) -> None:
        if self.contract is not None:
            _check_contract(self.contract)

    @classmethod
    def heard(cls, message: Change) -> StreamDelta:
        """What a message says.

        Raises:
            QueryError, ModeError, ValueError: It says something impossible.
        """
        queries = message.queries
        settings = Delta(
            None if queries is None else [_query(query) for query in queries],
            message.strength,
            None if message.remainder_db is None else _remainder(message.remainder_db),
        )
        mode = None if message.mode is None else _mode(message.mode)
        return cls(settings, message.contract, mode)

    def message(self, position: int) -> Change:
        """What says it; ``position`` is the frame of the stream from which on it holds."""
        queries, level = self.settings.queries, self.settings.remainder_db
        return Change(
            position,
            queries=None if queries is None else _said_queries(queries),
            strength=self.settings.strength,
            remainder_db=None if level is None else max(level, _NO_REMAINDER_DB),
            contract=self.contract,
            mode=None if self.mode is None else _said_mode(self.mode),
        )


@dataclasses.dataclass(frozen=True)
class StreamRequest:
    """All that is asked of a stream; what can be checked without a model is.

    Attributes:
        settings: What to separate.
        format: Sample rate, channels, mode and outputs.
        contract: "realtime" or "render".
        slack: Frames that an answer may take; None for what the server proposes.
        max_block: Most frames in one message.
        model: Name of a model of the server; empty for its own.
        origin: First frame of the stream on the host's time line.
        snapshots: Whether a server tells what its network remembers.

    Raises:
        ValueError: A value is impossible.
    """

    settings: Settings
    format: StreamFormat
    contract: Contract = "realtime"
    slack: int | None = None
    max_block: int = MAX_BLOCK
    model: str = ""
    origin: int = 0
    snapshots: bool = True

    def __post_init__(self) -> None:
        _check_contract(self.contract)
        for name, least in (("max_block", 1), ("slack", 0), ("origin", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )

    @classmethod
    def of(
        cls,
        queries: Queries | Settings,
        sample_rate: int,
        channels: int,
        mode: Mode,
        contract: Contract,
        **options: Any,
    ) -> StreamRequest:
        """From the arguments of :meth:`plugin_bridge.BridgeClient.open`.

        In the contract "render" no slack is asked for, unless an option says so.

        Raises:
            QueryError, ModeError, ValueError: One is impossible.
            TypeError: There is no option of that name.
        """
        if isinstance(mode, Windows):
            raise ModeError("over the bridge give windows in seconds, as WindowSeconds")
        levels = {name: options.pop(name, None) for name in ("strength", "remainder_db")}
        settings = Settings.of(queries, **levels)
        if settings.plain_masks:
            raise ValueError("plain_masks is not for streams of the bridge; leave it out")
        outputs: Outputs = options.pop("outputs", "target")
        if contract == "render" and options.get("slack") is None:
            options["slack"] = 0
        form = StreamFormat(sample_rate, channels, mode, outputs)
        return cls(settings, form, contract, **options)

    @classmethod
    def heard(cls, message: Open) -> StreamRequest:
        """What a message asks for; a slack that it leaves open stays so.

        Raises:
            QueryError, ModeError, ValueError: Something impossible.
        """
        mode = _mode(message.mode)
        return cls(
            Settings(
                [_query(query) for query in message.queries],
                message.strength,
                _remainder(message.remainder_db),
            ),
            StreamFormat(message.sample_rate, message.channels, mode, message.outputs),
            message.contract,
            message.slack,
            message.max_block,
            message.model,
            message.origin,
            message.snapshots,
        )

    @property
    def answer_bytes(self) -> int:
        """Bytes of the longest block that comes back."""
        return 4 * self.format.rows(self.settings) * self.format.channels * self.max_block

    def message(self) -> Open:
        """What opens such a stream."""
        settings, form = self.settings, self.format
        nothing = math.isinf(settings.remainder_db)
        return Open(
            sample_rate=form.sample_rate,
            channels=form.channels,
            max_block=self.max_block,
            queries=_said_queries(settings.queries),
            mode=_said_mode(form.mode),
            contract=self.contract,
            outputs=form.outputs,
            strength=settings.strength,
            remainder_db=None if nothing else settings.remainder_db,
            slack=self.slack,
            model=self.model,
            origin=self.origin,
            snapshots=self.snapshots,
        )

    def changed(self, delta: StreamDelta) -> StreamRequest:
        """With a change folded in.

        Raises:
            ValueError: With ``outputs="stems"``, the number of stems would change.
        """
        settings = self.settings.changed(delta.settings)
        self.format.check_change(self.settings, settings)
        form = self.format
        if delta.mode is not None:
            form = dataclasses.replace(form, mode=delta.mode)
        contract = delta.contract or self.contract
        return dataclasses.replace(self, settings=settings, format=form, contract=contract)


def _check_contract(contract: Contract) -> None:
    if contract not in get_args(Contract):
        named = " or ".join(map(repr, get_args(Contract)))
        raise ValueError(f"contract must be {named}, not {contract!r}")


def _query(message: QueryMessage) -> Query:
    return Query(message.text, message.gain_db, message.mute, message.solo, message.negative)


def _said_queries(queries: tuple[Query, ...]) -> list[QueryMessage]:
    said = []
    for query in queries:
        if query.like or query.video:
            raise QueryError(
                f"the bridge asks in words; {query.like or query.video} can ask where the model "
                "runs, in Separator and StreamingSeparator"
            )
        silent = math.isinf(query.gain_db)
        gain_db = 0.0 if silent else query.gain_db
        said.append(
            QueryMessage(query.text, gain_db, query.mute or silent, query.solo, query.negative)
        )
    return said


def _mode(mode: str | WindowMessage) -> Mode:
    if isinstance(mode, str):
        return mode  # type: ignore[return-value]  # StreamFormat checks it.
    return WindowSeconds(mode.hop, mode.context, mode.look_ahead)


def _said_mode(mode: Mode) -> str | WindowMessage:
    if isinstance(mode, WindowSeconds):
        return WindowMessage(float(mode.hop), float(mode.context), float(mode.look_ahead))
    return str(mode)


def _remainder(remainder_db: float | None) -> float:
    return -math.inf if remainder_db is None or remainder_db <= _NO_REMAINDER_DB else remainder_db
