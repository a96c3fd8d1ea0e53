"""The frames that PROTOCOL.md spells out are those that the code makes and takes."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge.protocol import messages, proof
from plugin_bridge.protocol.client_side import AudioAnswer, ClientProtocol
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import (
    Cancel,
    Change,
    Changed,
    Failure,
    Hello,
    Latency,
    Listed,
    Listing,
    ModelMessage,
    Open,
    Opened,
    QueryMessage,
    Reset,
    Statistics,
    Welcome,
    WindowMessage,
)
from plugin_bridge.protocol.server_side import Block, ServerProtocol
from plugin_bridge.protocol.wire import Frame, ProtocolError, Type

PAGE = Path(__file__).parents[3] / "plugin_bridge" / "PROTOCOL.md"
LEFT_RIGHT = np.array([[0.5, -0.5], [1, 0]], np.float32)


@pytest.fixture(scope="module")
def vectors():
    found = re.findall(
        r"^\*\*([^*]+)\*\* \((c→s|s→c)\)\n\n```hex\n(.+?)```", PAGE.read_text("utf-8"), re.M | re.S
    )
    return [(name, way, bytes.fromhex(text)) for name, way, text in found]


def test_the_code_speaks_the_page_to_the_byte(vectors, monkeypatch):
    client = ClientProtocol((1,))
    welcome = Welcome(0, "audiosep/0.1.0", "mini", {"streams": 64})
    server = ServerProtocol(Limits(), welcome, "ab" * 32)
    rows = np.stack([np.zeros_like(LEFT_RIGHT), LEFT_RIGHT])
    page = iter(vectors)
    received = []

    def says(side, data):
        name, way, expected = next(page)
        assert way == side, name
        assert data == expected, name
        received.append(list(server.receive(data)) if side == "c→s" else [*client.receive(data)])
        return received[-1]

    client.hello("example/1.0")
    hello = Hello([1], "example/1.0", "ab" * 32)
    reply = says("c→s", Frame(Type.HELLO, 0, 0, messages.encode(hello)).encode())
    says("s→c", reply[0].data)
    queries = [QueryMessage("drums"), QueryMessage("café", -6.0, True)]
    opening = Open(48000, 2, 512, queries, mode="track", outputs="target+residual")
    assert says("c→s", client.open(1, opening))[0].message == opening
    server.opened(1, 2, 512)
    opened = Opened(13789, 2400, 4608, 2, "mini")
    assert says("s→c", server.send(1, 1, opened))[0].message == opened
    (block,) = says("c→s", client.audio(1, LEFT_RIGHT))
    assert isinstance(block, Block)
    np.testing.assert_array_equal(block.audio, LEFT_RIGHT)
    (answer,) = says("s→c", server.send_audio(1, 2, rows, True))
    assert isinstance(answer, AudioAnswer) and answer.substituted
    np.testing.assert_array_equal(answer.rows, rows)
    change = Change(96000, [QueryMessage("rain"), QueryMessage("wind", negative=True)], 1.5)
    assert says("c→s", client.change(1, change))[0].message == change
    assert says("s→c", server.send(1, 3, Changed(96000)))[0].message == Changed(96000)
    change = Change(mode=WindowMessage(0.5, 1.0, 0.5), contract="render")
    assert says("c→s", client.change(1, change))[0].message == change
    news = Latency(52957, 2400, 24576)
    assert says("s→c", server.send(1, 4, news))[0].message == news
    assert says("c→s", client.plain(Type.FLUSH, 1))[0].type == Type.FLUSH
    assert says("c→s", client.plain(Type.RESET, 1))[0].type == Type.RESET
    assert says("s→c", server.send_plain(Type.DONE, 1, 6))[0].sequence == 6
    asked = Statistics("prometheus")
    assert says("c→s", client.statistics(0, asked))[0].message == asked
    text = b"audiosep_streams 1.0\n"
    assert says("s→c", server.send_plain(Type.REPORT, 0, 7, text))[0].payload == text
    (pong,) = says("c→s", client.plain(Type.PING, 0, b"\x00\xff"))
    assert says("s→c", pong.data)[0].payload == b"\x00\xff"
    failure = Failure("bad-query", "the query is empty; describe the sound to separate")
    assert says("s→c", server.send(1, 3, failure))[0].message == failure
    assert says("c→s", client.plain(Type.CLOSE, 1))[0].type == Type.CLOSE
    farewell = server.fatal(ProtocolError("shutdown", "the server shuts down"))
    assert says("s→c", farewell)[0].message.fatal
    client, server = ClientProtocol(), ServerProtocol(Limits(), welcome, "")
    (reply,) = says("c→s", client.hello("example/1.0"))
    says("s→c", reply.data)
    list(server.receive(client.open(1, opening)))
    server.opened(1, 2, 512)
    assert says("c→s", client.cancel(1, 2))[0].message == Cancel(2)
    assert says("c→s", client.reset(1, 96000))[0].message == Reset(96000)
    assert says("c→s", client.listing("live"))[0].message == Listing("live")
    modes = ["render", "mix", "track", "live"]
    listed = Listed([ModelMessage("mini", modes[:3]), ModelMessage("live", modes)], ["drums"])
    assert says("s→c", server.send(0, 4, listed))[0].message == listed
    snapshot = struct.pack("<QQ2s", 231_040, 240_000, b"*+")
    heard = says("s→c", server.send_plain(Type.SNAPSHOT, 1, 2, snapshot))
    assert heard[0].payload == snapshot
    assert says("c→s", client.plain(Type.SNAPSHOT, 1, snapshot))[0].payload == snapshot
    monkeypatch.setattr(proof, "new_challenge", iter(["01" * 32, "02" * 32]).__next__)
    client, server = ClientProtocol(), ServerProtocol(Limits(), welcome, "ab" * 32)
    (reply,) = says("c→s", client.hello("example/1.0", "ab" * 32))
    says("s→c", reply.data)
    (reply,) = says("c→s", client.prove())
    assert next(iter(client.receive(reply.data))).message.version == 2
    assert next(page, None) is None
    # Every type has a vector.
    assert {data[5] for _, _, data in vectors} == {int(kind) for kind in Type}


def test_the_page_names_every_type_and_its_number():
    text = PAGE.read_text("utf-8")
    for kind in Type:
        assert f"| {int(kind)} | {kind.name} |" in text


def test_the_page_gives_the_default_limits():
    text = PAGE.read_text("utf-8")
    section = text[text.index("## 8.") : text.index("## 9.")]
    for name, value in Limits().as_dict().items():
        assert f"`{name}`" in section
        assert f"{value:,}" in section
