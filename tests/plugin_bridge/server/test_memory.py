"""The sound that one client has a server hold is bounded, and counted as the page tells."""

import pytest

from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Change, WindowMessage
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.server import running

#: A stream of two channels in mode "track".
STREAM = {"mode": "track", "channels": 2, "max_block": 512}


@pytest.fixture(scope="module")
def one(server, peer):
    """Bytes of such a stream."""
    with peer(server.address) as client:
        opened = client.open(**STREAM)
    return 8 * 2 * (1 + opened.rows) * (opened.latency + opened.hop + 512)


@pytest.fixture
def roomy(bridge_server, tmp_path, one):
    """A server with room for two of them."""
    address = UnixAddress(tmp_path / "s")
    with running(bridge_server(address, limits=Limits(client_bytes=2 * one))):
        yield address


def test_what_is_full_is_refused_until_something_ends(roomy, peer, one):
    with peer(roomy) as client, peer(roomy) as other:
        client.open(stream=1, **STREAM)
        client.open(stream=2, **STREAM)
        with pytest.raises(peer.refused, match=f"hold {2 * one} bytes at most"):
            client.open(stream=3, **STREAM)
        # Others have room of their own.
        other.open(stream=1, **STREAM)
        client.send(client.protocol.plain(Type.CLOSE, 1))
        client.answer(Type.DONE)
        client.open(stream=3, **STREAM)


@pytest.mark.parametrize("more", [{"channels": 5}, {"outputs": "stems"}, {"max_block": 40_000}])
def test_rows_channels_and_blocks_count(roomy, peer, more):
    queries = ["a", "b", "c", "d"] if "outputs" in more else "drums"
    with peer(roomy) as client, pytest.raises(peer.refused, match="at most"):
        client.open(queries, **{**STREAM, **more})


def test_a_new_mode_counts(bridge_server, windowed, tmp_path, peer):
    address = UnixAddress(tmp_path / "s")
    model = windowed.bundle.folder
    with (
        running(bridge_server(address, model=model, limits=Limits(client_bytes=1 << 21))),
        peer(address) as client,
    ):
        client.open(**STREAM)
        change = Change(mode=WindowMessage(10.0, 1.0, 1.0))
        client.send(client.protocol.change(1, change))
        assert client.answer(Type.ERROR).message.code == "limit"
        client.send(client.protocol.change(1, Change(mode=WindowMessage(0.2, 0.1, 0.1))))
        client.answer(Type.CHANGED)
