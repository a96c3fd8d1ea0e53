"""The protocol core: what any bytes come to."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_bridge.protocol import messages, wire
from plugin_bridge.protocol.client_side import Answer, AudioAnswer, ClientProtocol
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import (
    Change,
    Failure,
    MessageError,
    Open,
    Opened,
    QueryMessage,
    Welcome,
    WindowMessage,
)
from plugin_bridge.protocol.server_side import Block, Reply, Request, ServerProtocol
from plugin_bridge.protocol.wire import Frame, ProtocolError, Type

WELCOME = Welcome(0, "server", "mini", {})
FUZZ = 10_000


def connected(token="", limits=None, versions=(1,)):
    """A server and a client that have greeted each other."""
    server = ServerProtocol(limits or Limits(), WELCOME, token)
    client = ClientProtocol(versions)
    (reply,) = server.receive(client.hello("test", token))
    list(client.receive(reply.data))
    if token:
        (reply,) = server.receive(client.prove())
        list(client.receive(reply.data))
    return server, client


def open_stream(server, client, stream=1, channels=2, max_block=512, rows=1):
    list(server.receive(client.open(stream, Open(48000, channels, max_block, [QueryMessage("a")]))))
    server.opened(stream, channels, max_block)
    list(client.receive(server.send(stream, client.last_sequence, Opened(9, 8, 7, rows, "mini"))))


def conversation(client):
    """What a client may say once it is connected and has stream 1 with two channels."""
    noise = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    return [
        client.audio(1, noise),
        client.change(1, Change(5, [QueryMessage("b", -3.0)], 2.0, contract="render")),
        client.plain(Type.PING, 0, b"abc"),
        client.statistics(1),
        client.change(1, Change(mode=WindowMessage(0.1, 0.2, 0.3))),
        client.plain(Type.FLUSH, 1),
        client.audio(1, noise[:, :1]),
        client.open(2, Open(44100, 1, 64, [QueryMessage("c"), QueryMessage("d", negative=True)])),
        client.plain(Type.CLOSE, 1),
    ]


def as_text(events):
    return [
        (e.stream, e.sequence, e.audio.tobytes()) if isinstance(e, Block) else repr(e)
        for e in events
    ]


@given(cuts=st.lists(st.integers(0, 1500), max_size=20))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts):
    server, client = connected()
    open_stream(server, client)
    data = b"".join(conversation(client))
    whole = as_text(server.receive(data))
    assert len(whole) == 9

    server, client = connected()
    open_stream(server, client)
    conversation(client)
    events, start = [], 0
    for cut in [*sorted(cut % len(data) for cut in cuts), len(data)]:
        events += server.receive(data[start:cut])
        start = cut
    assert as_text(events) == whole


def refused(server, data):
    with pytest.raises(ProtocolError) as caught:
        list(server.receive(data))
    return caught.value


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"\x00", b"X", b"ASEX", b"AS\x00"],
)
def test_strangers_are_known_by_their_first_bytes_and_get_no_answer(start):
    server = ServerProtocol(Limits(), WELCOME)
    error = refused(server, start)
    assert error.code == "magic"
    assert server.fatal(error) == b""


def frame(kind, stream=0, sequence=0, payload=b"", version=1):
    return Frame(kind, stream, sequence, payload).encode(version)


def header(length, kind=Type.AUDIO, version=1, sequence=1):
    return wire.HEADER.pack(wire.MAGIC, version, kind, 0, 1, length, sequence)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Type.HELLO, payload=b'{"versions":[1]}', version=9), "version"),
        (frame(Type.HELLO, payload=b'{"versions":[7,8],"token":"secret"}'), "version"),
        (frame(Type.HELLO, payload=b'{"versions":[],"token":"secret"}'), "version"),
        (frame(Type.HELLO, payload=b'{"versions":[1]}'), "token"),
        (frame(Type.HELLO, payload=b'{"versions":[1],"token":"secre"}'), "token"),
        (frame(Type.HELLO, payload=b'{"versions":[1],"token":"\\ud800"}'), "token"),
        (frame(Type.HELLO, payload=b"{}"), "bad-message"),
        (frame(Type.HELLO, payload=b"\xff"), "not-utf8"),
        (frame(Type.PING), "hello"),
        (frame(Type.HELLO, sequence=1, payload=b'{"versions":[1]}'), "hello"),
        (header(5000, Type.HELLO), "too-large"),
        (header(0xFFFFFFFF, Type.HELLO), "too-large"),
    ],
)
def test_nobody_gets_in_without_a_proper_hello(data, code):
    server = ServerProtocol(Limits(), WELCOME, "secret")
    error = refused(server, data)
    assert error.code == code
    (answer,) = ClientProtocol().receive(server.fatal(error))
    assert answer.message.fatal and answer.message.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Type.PING, sequence=5), "sequence"),
        (frame(Type.HELLO, sequence=1), "type"),
        (frame(Type.WELCOME, sequence=1), "type"),
        (frame(0, sequence=1), "type"),
        (frame(99, sequence=1), "type"),
        (frame(Type.PING, sequence=1, version=2), "version"),
        (frame(Type.OPEN, 0, 1, b"{}"), "stream"),
        (frame(Type.PING, sequence=1, payload=b"x" * 70_000), "too-large"),
        (header(0x80000000), "too-large"),
        (header(4 * 32 * 65_536 + 1), "too-large"),
    ],
)
def test_a_broken_rule_ends_the_connection(data, code):
    server, _ = connected()
    assert refused(server, data).code == code


def test_unknown_optional_types_are_skipped():
    server, client = connected()
    assert list(server.receive(frame(200, 3, 1, b"whatever"))) == []
    client.plain(Type.PING)
    (reply,) = server.receive(client.plain(Type.PING, 0, b"x"))
    (pong,) = client.receive(frame(255, 0, 0, b"?") + reply.data)
    assert pong == Answer(Type.PONG, 0, 2, payload=b"x")


def says(events):
    """The code of the one failure that is answered."""
    (reply,) = events
    assert isinstance(reply, Reply)
    (answer,) = ClientProtocol().receive(reply.data)
    assert isinstance(answer.message, Failure) and not answer.message.fatal
    return answer.message.code


def test_what_a_stream_cannot_take_is_answered_and_the_connection_goes_on():
    server, client = connected()
    assert says(server.receive(client.audio(1, np.zeros((1, 4), np.float32)))) == "no-stream"
    open_stream(server, client)
    assert says(server.receive(client.audio(1, np.zeros((1, 513), np.float32)))) == "bad-block"
    assert says(server.receive(client.audio(1, np.zeros((2, 513), np.float32)))) == "bad-block"
    assert says(server.receive(client.audio(1, np.zeros((2, 0), np.float32)))) == "bad-block"
    assert says(server.receive(client.plain(Type.FLUSH, 2))) == "no-stream"
    assert says(server.receive(client.change(1, Change(queries=[])))) == "limit"
    text = [QueryMessage("x" * 10_000)]
    assert says(server.receive(client.change(1, Change(queries=text)))) == "bad-query"
    (block,) = server.receive(client.audio(1, np.ones((2, 512), np.float32)))
    assert block.audio.shape == (2, 512)


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": 0},
        {"channels": 33},
        {"max_block": 0},
        {"max_block": 65_537},
        {"sample_rate": 400_000},
        {"slack": 48_000 * 61},
        {"queries": []},
        {"queries": [QueryMessage("a")] * 17},
    ],
)
def test_what_is_over_a_limit_is_refused(fields):
    server, client = connected()
    asked = {"sample_rate": 48_000, "channels": 2, "max_block": 512}
    asked |= {"queries": [QueryMessage("a")], **fields}
    assert says(server.receive(client.open(1, Open(**asked)))) == "limit"
    # Its number is free.
    (request,) = server.receive(client.open(1, Open(48_000, 1, 1, [QueryMessage("a")])))
    assert isinstance(request, Request)


def test_a_connection_has_so_many_streams():
    server, client = connected(limits=Limits(streams=2))
    open_stream(server, client, 1)
    open_stream(server, client, 2)
    opening = Open(48_000, 1, 1, [QueryMessage("a")])
    assert says(server.receive(client.open(3, opening))) == "limit"
    server.closed(1)
    (request,) = server.receive(client.open(3, opening))
    assert request.stream == 3


def mutated(rng, data):
    """A copy with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randint(1, 8)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            data[at:at] = data[at : at + rng.randint(1, 30)]
        if not data:
            break
    return bytes(data)


def outcomes(make, sources, rng, fuzzed):
    """How 10,000 messages end: with events, or with the one error that may come."""
    ends = {"events": 0, "error": 0}
    for _ in range(FUZZ):
        protocol = make()
        try:
            list(protocol.receive(fuzzed(rng, rng.choice(sources))))
            ends["events"] += 1
        except ProtocolError as error:
            assert error.code and str(error)
            ends["error"] += 1
    return ends


def server_with_stream():
    server, client = connected()
    open_stream(server, client)
    return server


def client_with_stream():
    server, client = connected()
    open_stream(server, client)
    return client


def client_sources():
    server, client = connected()
    open_stream(server, client)
    # A fresh server expects the first of these next; the fuzzed one sees each alone.
    sources = conversation(client)
    return [source[:16] + (2).to_bytes(8, "little") + source[24:] for source in sources]


def server_sources():
    server, client = connected()
    open_stream(server, client)
    rows = np.zeros((1, 2, 8), np.float32)
    return [
        server.send_audio(1, 2, rows, True),
        server.send(1, 2, Failure("bad-query", "no", True)),
        server.send(1, 2, Opened(1, 2, 3, 4, "mini")),
        server.send_plain(Type.REPORT, 0, 2, b'{"a":1}'),
        server.send_plain(Type.DONE, 1, 2),
    ]


def random_bytes(rng, source):
    """Noise, half of it behind a proper header."""
    noise = rng.randbytes(rng.randint(0, 200))
    if rng.random() < 0.5:
        return noise
    return wire.HEADER.pack(wire.MAGIC, 1, rng.randrange(256), 0, 1, len(noise), 2) + noise


@pytest.mark.parametrize("fuzzed", [random_bytes, mutated])
@pytest.mark.parametrize(
    ("make", "sources"),
    [(server_with_stream, client_sources), (client_with_stream, server_sources)],
)
def test_any_bytes_end_in_events_or_in_a_protocol_error(make, sources, fuzzed):
    ends = outcomes(make, sources(), random.Random(0), fuzzed)
    # Both ends are met, so the bytes get past the header.
    assert min(ends.values()) > FUZZ // 50


@pytest.mark.parametrize("fuzzed", [random_bytes, mutated])
def test_any_first_bytes_are_a_hello_or_an_error(fuzzed):
    hello = ClientProtocol().hello("test", "secret")
    ends = outcomes(
        lambda: ServerProtocol(Limits(), WELCOME, "secret"), [hello], random.Random(1), fuzzed
    )
    assert ends["error"] > FUZZ // 50


@pytest.mark.parametrize("kind", [Type.HELLO, Type.OPEN, Type.CHANGE, Type.STATISTICS])
def test_any_json_is_a_message_or_an_error(kind):
    rng = random.Random(2)
    opening = Open(48_000, 2, 512, [QueryMessage("a", -3.0)], mode=WindowMessage(1, 2, 3), slack=5)
    sources = [messages.encode(opening), messages.encode(Change(3, [QueryMessage("b")]))]
    values = [None, True, -1, 1 << 70, 1.5, "x", [], {}, [[]], {"text": 3}]
    understood = 0
    for _ in range(FUZZ):
        if rng.random() < 0.5:
            payload = mutated(rng, rng.choice(sources))
        else:
            fields = json.loads(rng.choice(sources))
            fields[rng.choice([*fields])] = rng.choice(values)
            payload = json.dumps(fields).encode()
        try:
            messages.decode(kind, payload)
            understood += 1
        except MessageError as error:
            assert error.code in ("bad-message", "not-utf8")
    assert understood < FUZZ


@settings(max_examples=50)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 50))
def test_audio_comes_back_as_it_was_sent(rows, channels, frames):
    server, client = connected()
    open_stream(server, client, channels=channels, rows=rows)
    rng = np.random.default_rng(frames)
    audio = rng.standard_normal((rows, channels, frames)).astype(np.float32)
    (block,) = server.receive(client.audio(1, audio[0]))
    np.testing.assert_array_equal(block.audio, audio[0])
    (answer,) = client.receive(server.send_audio(1, block.sequence, audio, False))
    assert isinstance(answer, AudioAnswer)
    np.testing.assert_array_equal(answer.rows, audio)


def test_version_2_says_where_a_stream_begins_and_takes_changes_back():
    server, client = connected(versions=(1, 2))
    assert client.version == 2
    asked = Open(48000, 1, 512, [QueryMessage("a")], origin=96_000)
    (request,) = server.receive(client.open(1, asked))
    assert request.message == asked
    server.opened(1, 1, 512)
    (request,) = server.receive(client.reset(1, 12))
    assert (request.type, request.message) == (Type.RESET, messages.Reset(12))
    (request,) = server.receive(client.cancel(1, 2))
    assert (request.type, request.message) == (Type.CANCEL, messages.Cancel(2))


def test_version_1_has_neither():
    server, client = connected()
    open_stream(server, client)
    (request,) = server.receive(client.reset(1, 12))
    assert request.message == messages.Reset(0)
    with pytest.raises(ProtocolError) as caught:
        list(server.receive(client.cancel(1, 2)))
    assert caught.value.code == "type"
