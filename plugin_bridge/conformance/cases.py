"""The cases: each a conversation, and what PROTOCOL.md says of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.address import Address
from plugin_bridge.conformance.dialog import DepartureError, Dialog, check
from plugin_bridge.protocol.wire import Frame, Type

_RATE = 48_000
_UNKNOWN, _OPTIONAL = 99, 200

Connect = Callable[..., Dialog]


@dataclasses.dataclass(frozen=True)
class Case:
    """A conversation with a server.

    Attributes:
        name: What it is about.
        hold: Holds it; raises :class:`DepartureError` where the server does not as it must.
    """

    name: str
    hold: Callable[[Connect], None]


CASES: list[Case] = []


def check_server(address: Address, timeout: float) -> Iterator[tuple[str, str]]:
    """Put a server through all cases, one after the other.

    Args:
        address: Of the server.
        timeout: Seconds to wait for each of its answers.

    Yields:
        The name of a case, and where the server departs from the protocol, or nothing.

    Raises:
        OSError: Nobody answers there.
        AddressError: The server's token cannot be read.
    """

    def connect(*versions: int, silent: bool = False) -> Dialog:
        offered = () if silent else versions or (1, 2)
        return Dialog(address, timeout, offered)

    for case in CASES:
        try:
            case.hold(connect)
        except DepartureError as departure:
            yield case.name, str(departure)
        else:
            yield case.name, ""


def _case(name: str) -> Callable[[Callable[[Connect], None]], Callable[[Connect], None]]:
    def add(hold: Callable[[Connect], None]) -> Callable[[Connect], None]:
        CASES.append(Case(name, hold))
        return hold

    return add


def _sound(frames: int, seed: int = 7) -> NDArray[np.float32]:
    """Noise of two channels."""
    noise = np.random.default_rng(seed).standard_normal((2, frames))
    return (0.1 * noise).astype(np.float32)


def _heard(dialog: Dialog, sound: NDArray[np.float32], block: int = 1000) -> NDArray[np.float32]:
    """What comes back of a sound on stream 1."""
    parts = [
        dialog.exchange(1, sound[:, at : at + block]) for at in range(0, sound.shape[1], block)
    ]
    return np.concatenate(parts, -1)


def _flushed(dialog: Dialog, latency: int, most: int = 4096) -> NDArray[np.float32]:
    sequence = dialog.say(Type.FLUSH, 1)
    parts: list[NDArray[np.float32]] = []
    while sum(part.shape[1] for part in parts) < latency:
        parts.append(dialog.hear_audio(1, sequence, 2))
        check(0 < parts[-1].shape[1] <= most, "a part of a tail must be from 1 to max_block long")
    dialog.hear_of(Type.DONE, 1, sequence)
    tail = np.concatenate(parts, -1)
    check(tail.shape[1] == latency, f"FLUSH gave {tail.shape[1]} frames of {latency}")
    return tail


@_case("greeting: the best version that both speak")
def _versions(connect: Connect) -> None:
    for offered, best in (((1,), 1), ((2,), 2), ((1, 2, 9), 2)):
        with connect(*offered) as dialog:
            check(dialog.welcome["version"] == best, f"of {offered} it chose {dialog.welcome}")
            for field, kind in (("server", str), ("model", str), ("limits", dict)):
                check(isinstance(dialog.welcome.get(field), kind), f"WELCOME has no {field}")


@_case("greeting: no version in common, or no HELLO, ends it")
def _strangers(connect: Connect) -> None:
    for frame, code in (
        (Frame(Type.HELLO, 0, 0, b'{"versions":[77]}'), "version"),
        (Frame(Type.PING, 0, 0), "hello"),
        (Frame(Type.HELLO, 1, 0, b'{"versions":[1]}'), "hello"),
        (Frame(Type.HELLO, 0, 1, b'{"versions":[1]}'), "hello"),
        (Frame(Type.HELLO, 0, 0, b"{"), "bad-message"),
    ):
        with connect(silent=True) as dialog:
            dialog.say_bytes(frame.encode())
            heard = dialog.hear_json(Type.ERROR, 0, 1 if frame.sequence == 0 else 0)
            # Over TCP a stranger is told of the token, whatever else is wrong.
            check(heard.get("code") in (code, "token"), f"{code} was due, not {heard}")
            check(dialog.hear() is None, "it must hang up, and said more")


@_case("greeting: what does not speak the protocol gets no word")
def _magic(connect: Connect) -> None:
    with connect(silent=True) as dialog:
        dialog.say_bytes(b"GET / HTTP/1.1\r\n\r\n")
        dialog.hear_end("", 0)


@_case("frames: PING comes back, also in pieces; optional types are skipped")
def _frames(connect: Connect) -> None:
    with connect(2) as dialog:
        payload = bytes(range(256)) * 256
        sequence = dialog.say(Type.PING, 5, payload)
        check(dialog.hear_of(Type.PONG, 5, sequence).payload == payload, "PONG is not its PING")
        dialog.say(_OPTIONAL, 3, b"whatever")
        dialog.hear_of(Type.PONG, 0, dialog.say(Type.PING))
        for byte in Frame(Type.PING, 0, dialog.due, b"slow").encode(2):
            dialog.say_bytes(bytes([byte]))
        check(dialog.hear_of(Type.PONG, 0, dialog.due).payload == b"slow", "PONG is not its PING")


@_case("frames: fatal errors, on stream 0 with the number that was due, and the end")
def _fatal(connect: Connect) -> None:
    for code, skipped, kind in (("sequence", 1, Type.PING), ("type", 0, _UNKNOWN)):
        with connect(2) as dialog:
            sequence = dialog.say(kind, 0, skipped=skipped) - skipped
            dialog.hear_end(code, sequence + (code == "type"))
    with connect(2) as dialog:
        dialog.say_bytes(Frame(Type.PING, 0, dialog.due).encode(1))
        dialog.hear_end("version", dialog.due)
    with connect(2) as dialog:
        limit = dialog.welcome["limits"]["control_bytes"]
        dialog.hear_end("too-large", dialog.say(Type.OPEN, 1, b" " * (limit + 1)) + 1)
    with connect(2) as dialog:
        dialog.open()
        dialog.hear_end("stream", dialog.say(Type.OPEN, 1, {}) + 1)


_OPEN = {"sample_rate": _RATE, "channels": 2, "max_block": 4096, "queries": ["drums"]}
_REFUSED: tuple[tuple[str, bytes | dict[str, Any]], ...] = (
    ("bad-message", b"["),
    ("bad-message", b"[]"),
    ("bad-message", b'{"sample_rate":NaN}'),
    ("bad-message", {**_OPEN, "sample_rate": 44_100.0}),
    ("bad-message", {**_OPEN, "channels": -1}),
    ("bad-message", {**_OPEN, "channels": True}),
    ("bad-message", {**_OPEN, "contract": "soon"}),
    ("bad-message", {"sample_rate": _RATE}),
    ("bad-message", {**_OPEN, "more": [[[[[[[[[]]]]]]]]]}),
    ("not-utf8", b'{"model":"\xff"}'),
    ("limit", {**_OPEN, "channels": 0}),
    ("limit", {**_OPEN, "max_block": 1 << 40}),
    ("limit", {**_OPEN, "queries": []}),
    ("bad-query", {**_OPEN, "queries": [" "]}),
    ("bad-query", {**_OPEN, "queries": ["x" * 5000]}),
    ("bad-mode", {**_OPEN, "mode": "soon"}),
    ("bad-model", {**_OPEN, "model": "../../etc"}),
    ("bad-value", {**_OPEN, "strength": 0}),
    ("bad-value", {**_OPEN, "slack": 1}),
)


@_case("OPEN: what is impossible is refused, and the connection lives on")
def _refusals(connect: Connect) -> None:
    with connect(2) as dialog:
        for code, payload in _REFUSED:
            dialog.hear_error(code, 1, dialog.say(Type.OPEN, 1, payload))
        for kind in (Type.AUDIO, Type.CHANGE, Type.FLUSH, Type.RESET, Type.CLOSE):
            dialog.hear_error("no-stream", 1, dialog.say(kind, 1, b"{}"))
        opened = dialog.open(unknown={"field": 1}, mode="mix")
        names = ("latency", "slack", "hop", "rows", "preroll", "answer_bytes")
        for name in names:
            check(type(opened.get(name)) is int, f"OPENED has no whole {name}: {opened}")
        check(opened["rows"] == 1 and opened["answer_bytes"] == 4 * 2 * 4096, f"{opened}")


@_case("audio: as many frames back, the first `latency` of them silent, in blocks of any size")
def _audio(connect: Connect) -> None:
    with connect(2) as dialog:
        latency = dialog.open()["latency"]
        sound = _sound(latency + 5000)
        whole = np.concatenate([_heard(dialog, sound), _flushed(dialog, latency)], -1)
        check(not whole[:, :latency].any(), "the first `latency` frames must be silent")
        check(bool(whole[:, latency:].any()), "nothing comes back")
        cut = np.concatenate([_heard(dialog, sound, 4096), _flushed(dialog, latency)], -1)
        check(bool((cut == whole).all()), "other blocks give other samples")
        for payload in (b"", b"\0" * 12, b"\0" * 8 * 4097):
            dialog.hear_error("bad-block", 1, dialog.say(Type.AUDIO, 1, payload))
        dialog.exchange(1, sound[:, :1])


@_case("outputs: rows as OPENED tells; target and residual sum to the mixture")
def _outputs(connect: Connect) -> None:
    queries = ["drums", {"text": "wind", "negative": True}, {"text": "speech", "gain_db": -6}]
    for outputs, rows in (("target", 1), ("target+residual", 2), ("stems", 3)):
        with connect(2) as dialog:
            opened = dialog.open(outputs=outputs, queries=queries)
            check(opened["rows"] == rows, f"{outputs} has {opened['rows']} rows, not {rows}")
            dialog.exchange(1, _sound(1000), rows)
    with connect(2) as dialog:
        latency = dialog.open(outputs="target+residual")["latency"]
        sound = _sound(latency + 4096)
        parts = [
            dialog.exchange(1, sound[:, at : at + 1024], 2)
            for at in range(0, sound.shape[1] - 1023, 1024)
        ]
        out = np.concatenate(parts, -1)[:, latency:]
        error = np.abs(out[:2] + out[2:] - sound[:, : out.shape[1]]).max(initial=0)
        check(error < 1e-5, f"target and residual miss the mixture by {error:g}")


@_case("time: RESET to one origin repeats the same bits; it drops what was held back")
def _origins(connect: Connect) -> None:
    with connect(2) as dialog:
        latency = dialog.open(origin=96_000)["latency"]
        sound = _sound(latency + 4000)
        first = _heard(dialog, sound)
        dialog.hear_of(Type.DONE, 1, dialog.say(Type.RESET, 1, {"origin": 96_000}))
        check(bool((_heard(dialog, sound) == first).all()), "a loop does not repeat itself")


@_case("changes: heard at their frame of the mixture, also ahead of time; others wait for no one")
def _changes(connect: Connect) -> None:
    with connect(2) as dialog:
        latency = dialog.open()["latency"]
        sound, at = _sound(latency + 9000), 4321
        plain = _heard(dialog, sound)
        dialog.hear_of(Type.DONE, 1, dialog.say(Type.RESET, 1))
        far = dialog.say(Type.CHANGE, 1, {"position": 1 << 40, "strength": 2.0})
        mute = {"position": at, "queries": [{"text": "drums", "gain_db": -60}]}
        near = dialog.say(Type.CHANGE, 1, mute)
        out, changed = [], None
        for start in range(0, sound.shape[1], 1000):
            sequence = dialog.say_audio(1, sound[:, start : start + 1000])
            frame = dialog.hear()
            while frame is not None and frame.type == Type.CHANGED:
                check(changed is None and frame.sequence == near, "another change was confirmed")
                changed = json.loads(frame.payload)["position"]
                frame = dialog.hear()
            check(frame is not None and frame.sequence == sequence, "no answer to audio came")
            assert frame is not None
            out.append(np.frombuffer(frame.payload, "<f4").reshape(2, -1))
        check(changed == at, f"the change began at {changed}, not at {at}")
        both = np.concatenate(out, -1) == plain
        check(bool(both[:, : at + latency].all()), "a change was heard before its frame")
        check(not both[:, at + latency + 480 :].all(), "a change was not heard")
        cancel = dialog.say(Type.CANCEL, 1, {"sequence": far})
        dialog.hear_error("cancelled", 1, far)
        dialog.hear_of(Type.DONE, 1, cancel)
        dialog.hear_error("too-late", 1, dialog.say(Type.CANCEL, 1, {"sequence": far}))


@_case("changes: one that is refused leaves nothing behind")
def _refused_change(connect: Connect) -> None:
    with connect(2) as dialog:
        latency = dialog.open(outputs="stems", queries=["drums", "wind"])["latency"]
        sound = _sound(latency + 2000)[:, :4096]
        plain = dialog.exchange(1, sound, 3)
        dialog.hear_of(Type.DONE, 1, dialog.say(Type.RESET, 1))
        bad = {"queries": ["drums"], "strength": 3.0}
        dialog.hear_error("bad-value", 1, dialog.say(Type.CHANGE, 1, bad))
        check(bool((dialog.exchange(1, sound, 3) == plain).all()), "a refused change was heard")


@_case("CLOSE answers DONE and frees the number; streams are independent")
def _close(connect: Connect) -> None:
    with connect(2) as dialog:
        dialog.open(1)
        dialog.open(7, channels=1)
        dialog.hear_of(Type.DONE, 1, dialog.say(Type.CLOSE, 1))
        dialog.hear_error("no-stream", 1, dialog.say(Type.FLUSH, 1))
        dialog.exchange(7, _sound(100)[:1])
        dialog.open(1)


@_case("STATISTICS and LIST")
def _figures(connect: Connect) -> None:
    with connect(2) as dialog:
        opened = dialog.open()
        dialog.exchange(1, _sound(1000))
        report = dialog.hear_json(Type.REPORT, 1, dialog.say(Type.STATISTICS, 1, {}))
        for name, value in (("latency", opened["latency"]), ("blocks", 1), ("position", 1000)):
            check(report.get(name) == value, f"REPORT's {name} must be {value}: {report}")
        report = dialog.hear_json(Type.REPORT, 0, dialog.say(Type.STATISTICS, 0, {}))
        check(isinstance(report.get("totals"), dict), "the server's REPORT has no totals")
        check("drums" not in json.dumps(report), "a REPORT tells what is asked for")
        asked = dialog.say(Type.STATISTICS, 0, {"format": "prometheus"})
        text = dialog.hear_of(Type.REPORT, 0, asked).payload
        check(b"# TYPE" in text, "no text of Prometheus")
        listed = dialog.hear_json(Type.LISTED, 0, dialog.say(Type.LIST))
        names = [model["name"] for model in listed["models"]]
        check(names[:1] == [dialog.welcome["model"]], "the server's own model must come first")


@_case("version 1: positions from 0, no origin, no CANCEL")
def _version_1(connect: Connect) -> None:
    with connect(1) as dialog:
        latency = dialog.open()["latency"]
        sound = _sound(latency + 2000)
        first = _heard(dialog, sound)
        dialog.hear_of(Type.DONE, 1, dialog.say(Type.RESET, 1))
        check(bool((_heard(dialog, sound) == first).all()), "a loop does not repeat itself")
        dialog.hear_end("type", dialog.say(Type.CANCEL, 1, {"sequence": 1}) + 1)


@_case("SNAPSHOT: another stream goes on with it to the bit; none comes unasked")
def _snapshots(connect: Connect) -> None:
    sound = _sound(12 * _RATE)
    with connect(2) as dialog:
        latency = dialog.open(snapshots=True)["latency"]
        parts, snapshots = [], []
        for at in range(0, sound.shape[1], 4096):
            sequence = dialog.say_audio(1, sound[:, at : at + 4096])
            # What came behind the answer before lies in front of this one.
            while (frame := dialog.hear()) is not None and frame.type == Type.SNAPSHOT:
                snapshots.append(frame.payload)
            check(frame is not None and frame.sequence == sequence, "no answer to audio came")
            assert frame is not None
            parts.append(np.frombuffer(frame.payload, "<f4").reshape(2, -1))
        whole = np.concatenate(parts, -1)
    with connect(2) as dialog:
        dialog.hear_error("no-stream", 1, dialog.say(Type.SNAPSHOT, 1, b"whatever"))
        dialog.open()
        dialog.hear_error("bad-snapshot", 1, dialog.say(Type.SNAPSHOT, 1, b"whatever"))
        if not snapshots:
            # A network that remembers nothing has none to give.
            return
        check(
            bool((_heard(dialog, sound, 4096) == whole).all()), "with snapshots it sounds otherwise"
        )
    data = snapshots[-1]
    begin, position = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8))
    check(begin < position <= sound.shape[1], f"a snapshot of {begin} and {position}")
    with connect(2) as dialog:
        dialog.open(origin=begin)
        dialog.say(Type.SNAPSHOT, 1, data)
        again = _heard(dialog, sound[:, begin:], 4096)[:, position - begin + latency :]
        check(bool((again == whole[:, position + latency :]).all()), "it does not go on as before")
