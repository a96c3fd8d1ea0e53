"""What the payloads of control frames say, as JSON on the wire and as dataclasses here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

from audiosep_core.plain import FieldError, Reading, from_plain
from audiosep_core.settings import Outputs
from plugin_bridge.protocol.wire import Type

Contract = Literal["realtime", "render"]


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
    """One query; the fields are those of :class:`audiosep_core.settings.Query`."""

    text: str
    gain_db: float = 0.0
    mute: bool = False
    solo: bool = False
    negative: bool = False


@dataclasses.dataclass(frozen=True)
class WindowMessage:
    """A latency mode of one's own, in seconds, as :class:`plugin_bridge.WindowSeconds`."""

    hop: float
    context: float
    look_ahead: float


@dataclasses.dataclass(frozen=True)
class Hello:
    """First message of a client.

    Attributes:
        versions: Of the protocol, that it speaks.
        client: What it calls itself.
        token: Where TCP asks for it, of a client that does not know better than to say it.
        challenge: What the server has to prove with that it knows the token.
    """

    versions: list[int]
    client: str = ""
    token: str = ""
    challenge: str = ""


@dataclasses.dataclass(frozen=True)
class Challenge:
    """The server's answer to a challenge: its proof, and a challenge of its own."""

    challenge: str
    proof: str


@dataclasses.dataclass(frozen=True)
class Proof:
    """The client's answer to the server's challenge."""

    proof: str


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
        origin: The first frame on the host's time line, on whose grid the hops lie.
        snapshots: Send SNAPSHOTs in the contract "render".
    """

    sample_rate: int
    channels: int
    max_block: int
    queries: list[QueryMessage]
    mode: str | WindowMessage = "mix"
    contract: Contract = "realtime"
    outputs: Outputs = "target"
    strength: float = 1.0
    remainder_db: float | None = None
    slack: int | None = None
    model: str = ""
    origin: int = 0
    snapshots: bool = False


@dataclasses.dataclass(frozen=True)
class Opened:
    """The stream is ready.

    Attributes:
        latency: Frames by which what comes back lies behind what was sent.
        slack: Frames within which a block is answered in the contract "realtime".
        hop: Frames for which one call of the network makes masks.
        rows: Signals that come back, each with all channels.
        model: Name of the model.
        preroll: Frames before one that its masks depend on: a stream that goes on where another one
            was lost is given these again.
        answer_bytes: Largest payload of one AUDIO message that comes back.
    """

    latency: int
    slack: int
    hop: int
    rows: int
    model: str
    preroll: int = 0
    answer_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Change:
    """Changes a stream from a position on; what is absent stays as it is.

    Attributes:
        position: Frame of the mixture at which it is heard, counted from the origin; a frame
            that has been heard stands for the next one that has not.
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
class Reset:
    """Forgets all sound; ``origin`` as in :class:`Open`."""

    origin: int = 0


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Takes back a change that waits for its position: ``sequence`` of its message."""

    sequence: int


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
class Listing:
    """Asks what there is: the models, and the queries that ``model`` knows beforehand.

    Attributes:
        model: As in :class:`Open`.
    """

    model: str = ""


@dataclasses.dataclass(frozen=True)
class ModelMessage:
    """A model that streams can be opened with: its name, and the modes that it keeps to."""

    name: str
    modes: list[str]


@dataclasses.dataclass(frozen=True)
class Listed:
    """What there is.

    Attributes:
        models: The server's own first.
        queries: Texts that take no time to be understood; others do as well.
    """

    models: list[ModelMessage]
    queries: list[str]


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
    Hello | Challenge | Proof | Welcome | Open | Opened | Change | Reset | Cancel | Changed
    | Latency | Statistics | Listing | Listed | Failure
)  # fmt: skip

TYPES: dict[type, Type] = {
    Hello: Type.HELLO,
    Challenge: Type.CHALLENGE,
    Proof: Type.PROOF,
    Welcome: Type.WELCOME,
    Open: Type.OPEN,
    Opened: Type.OPENED,
    Change: Type.CHANGE,
    Reset: Type.RESET,
    Cancel: Type.CANCEL,
    Changed: Type.CHANGED,
    Latency: Type.LATENCY,
    Statistics: Type.STATISTICS,
    Listing: Type.LIST,
    Listed: Type.LISTED,
    Failure: Type.ERROR,
}
_CLASSES: dict[int, type] = {int(kind): cls for cls, kind in TYPES.items()}
#: Depth of nesting that any message needs; deeper JSON is refused before it is parsed.
_MOST_NESTED = 8
#: A later version may say more; what is unknown is no business of this one.
_READING = Reading(ignore_unknown=True, natural=True, bare={QueryMessage: "text"})


def encode(message: Message) -> bytes:
    """The JSON of a message; fields at their default are left out."""
    return json.dumps(_plain(message), separators=(",", ":")).encode()


def decode(kind: int, payload: bytes) -> Message:
    """The message that a control frame holds.

    Raises:
        MessageError: The payload is no UTF-8, no JSON, or has other fields or types.
    """
    try:
        return from_plain(_CLASSES[kind], decode_json(payload), Type(kind).name, _READING)
    except FieldError as error:
        raise MessageError(str(error)) from None


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
