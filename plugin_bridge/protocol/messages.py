"""What the payloads of control frames say, as JSON on the wire and as dataclasses here."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from plugin_bridge.protocol.wire import Type

Contract = Literal["realtime", "render"]
OutputsName = Literal["target", "target+residual", "stems"]


class MessageError(ValueError):
    """A payload does not say what its type of message must say.

    Args:
        message: Sentence for people.
        code: Word for programs.
    """

    def __init__(self, message: str, code: str = "bad-message") -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class QueryMessage:
    """One query; the fields are those of :class:`audiosep_core.selection.Query`."""

    text: str
    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False
    negative: bool = False


@dataclasses.dataclass(frozen=True)
class WindowMessage:
    """A latency mode of one's own, in seconds, as :class:`plugin_bridge.modes.WindowSeconds`."""

    hop: float
    context: float
    look_ahead: float


@dataclasses.dataclass(frozen=True)
class Hello:
    """First message of a client: the versions it speaks, and the token where TCP asks for it."""

    versions: list[int]
    client: str = ""
    token: str = ""


@dataclasses.dataclass(frozen=True)
class Welcome:
    """The version that is spoken from now on, the server, its model and its limits."""

    version: int
    server: str
    model: str
    limits: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Open:
    """Asks for a stream.

    Attributes:
        sample_rate: In Hz.
        channels: Of the mixture and of every row that comes back.
        max_block: Most frames in one AUDIO message, in both directions.
        queries: What to separate.
        mode: "render", "mix", "track" or windows of one's own.
        contract: "realtime" or "render".
        outputs: What comes back: the rows of :class:`plugin_bridge.StreamingSeparator`.
        strength: Exponent of the masks.
        remainder_db: Level in the target of what no stem claims; null for none of it.
        slack: Frames within which a block is answered; null leaves it to the server.
        model: Name of the model; empty for the server's own.
    """

    sample_rate: int
    channels: int
    max_block: int
    queries: list[QueryMessage]
    mode: str | WindowMessage = "mix"
    contract: Contract = "realtime"
    outputs: OutputsName = "target"
    strength: float = 1.0
    remainder_db: float | None = None
    slack: int | None = None
    model: str = ""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The stream is ready.

    Attributes:
        latency: Frames by which what comes back lies behind what was sent.
        slack: Frames within which a block is answered in the contract "realtime".
        hop: Frames for which one call of the network makes masks.
        rows: Signals that come back, each with all channels.
        model: Name of the model.
    """

    latency: int
    slack: int
    hop: int
    rows: int
    model: str


@dataclasses.dataclass(frozen=True)
class Change:
    """Changes a stream from a position on; what is absent stays as it is.

    Attributes:
        position: Frame of the stream's input, counted from its start or last reset; a position
            that lies behind takes effect at once.
        queries, strength, remainder_db, contract, mode: As in :class:`Open`; a ``remainder_db``
            of -200 takes the remainder away. A new ``mode`` starts the stream anew, its position
            at 0.
    """

    position: int = 0
    queries: list[QueryMessage] | None = None
    strength: float | None = None
    remainder_db: float | None = None
    contract: Contract | None = None
    mode: str | WindowMessage | None = None


@dataclasses.dataclass(frozen=True)
class Changed:
    """A change is in effect from this position on."""

    position: int


@dataclasses.dataclass(frozen=True)
class Latency:
    """From here on the stream has another latency: fields as in :class:`Opened`."""

    latency: int
    slack: int
    hop: int


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Asks for numbers: as JSON, or on stream 0 as Prometheus' text."""

    format: Literal["json", "prometheus"] = "json"


@dataclasses.dataclass(frozen=True)
class Failure:
    """Something cannot be done; after a fatal one the connection ends."""

    code: str
    message: str
    fatal: bool = False


Message = (
    Hello | Welcome | Open | Opened | Change | Changed | Latency | Statistics | Failure
)  # fmt: skip

TYPES: dict[type, Type] = {
    Hello: Type.HELLO,
    Welcome: Type.WELCOME,
    Open: Type.OPEN,
    Opened: Type.OPENED,
    Change: Type.CHANGE,
    Changed: Type.CHANGED,
    Latency: Type.LATENCY,
    Statistics: Type.STATISTICS,
    Failure: Type.ERROR,
}
_CLASSES: dict[int, type] = {int(kind): cls for cls, kind in TYPES.items()}
#: Depth of nesting that any message needs; deeper JSON is refused before it is parsed.
_MOST_NESTED = 8

_T = TypeVar("_T")


def encode(message: Message) -> bytes:
    """The JSON of a message; fields at their default are left out."""
    return json.dumps(_plain(message), separators=(",", ":")).encode()


def decode(kind: int, payload: bytes) -> Message:
    """The message that a control frame holds.

    Raises:
        MessageError: The payload is no UTF-8, no JSON, or has other fields or types.
    """
    return _build(_CLASSES[kind], decode_json(payload), Type(kind).name)


def decode_json(payload: bytes) -> Any:
    """JSON of a payload; an empty one counts as an empty object.

    Raises:
        MessageError: The payload is no UTF-8 or no JSON.
    """
    if not payload:
        return {}
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageError(f"the payload is not UTF-8 at byte {error.start}", "not-utf8") from None
    if text.count("[") + text.count("{") > _MOST_NESTED and _depth(text) > _MOST_NESTED:
        raise MessageError("the payload is nested too deeply")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise MessageError(f"the payload is no JSON: {error}") from None


def _depth(text: str) -> int:
    """Nesting as brackets tell it; brackets within strings only make it larger."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.default is dataclasses.MISSING or getattr(value, field.name) != field.default
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _build(cls: type[_T], value: Any, where: str) -> _T:
    if not isinstance(value, Mapping):
        raise MessageError(f"{where} must be an object, not {_name(value)}")
    hints = _hints(cls)
    known = {
        name: _convert(hints[name], item, f"{where}.{name}")
        for name, item in value.items()
        # A later version may say more; what is unknown is no business of this one.
        if name in hints
    }
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.name not in known:
            raise MessageError(f"{where}.{field.name} is missing")
    return cls(**known)


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        # Of several kinds an object stands for the dataclass, anything else for the other.
        wants_object = isinstance(value, Mapping) and len(choices) > 1
        chosen = [choice for choice in choices if dataclasses.is_dataclass(choice) == wants_object]
        return _convert((chosen or choices)[0], value, where)
    if origin is list:
        if not isinstance(value, list):
            raise MessageError(f"{where} must be a list, not {_name(value)}")
        return [_convert(arguments[0], item, f"{where}[{at}]") for at, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise MessageError(f"{where} must be an object, not {_name(value)}")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        if value not in arguments:
            named = ", ".join(map(json.dumps, arguments))
            raise MessageError(f"{where} must be one of {named}")
        return value
    if dataclasses.is_dataclass(hint):
        # A query may be a bare text.
        if hint is QueryMessage and isinstance(value, str):
            return QueryMessage(value)
        return _build(typing.cast(type, hint), value, where)
    return _scalar(hint, value, where)


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        # A whole number may have more digits than a float holds.
        value = float(value) if abs(value) < 1 << 53 else math.inf
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise MessageError(f"{where} is too large")
    right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not right:
        raise MessageError(f"{where} must be of type {_NAMES[hint]}, not {_name(value)}")
    if hint is int and not 0 <= value < 1 << 53:
        raise MessageError(f"{where} must be from 0 to 2^53")
    return value


_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def _name(value: Any) -> str:
    if value is None:
        return "null"
    return "list" if isinstance(value, list) else _NAMES.get(type(value), "object")
