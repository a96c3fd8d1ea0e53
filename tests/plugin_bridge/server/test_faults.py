"""What goes wrong around a server costs nobody else a sample."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from audiosep_core.model.bundle import PACKAGED
from audiosep_core.model.installed import packaged_folder
from plugin_bridge import StreamingSeparator
from plugin_bridge.address import AddressError, UnixAddress, default_address, runtime_folder
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Change, QueryMessage
from plugin_bridge.protocol.wire import HEADER, MAGIC, ProtocolError, Type
from plugin_bridge.server.server import running

PATIENCE = 60
BLOCK = 4000


@pytest.fixture
def bystander(server, peer, separator, music):
    """A stream that goes on while something happens, and must not lose a sample."""
    audio = music(2, 40 * BLOCK)
    local = StreamingSeparator("drums", 48_000, 2, "track", separator)
    with peer(server.address) as client:
        client.open(mode="track")
        blocks = iter(np.split(audio, 40, axis=1))

        def go_on(count=4):
            for _ in range(count):
                block = np.ascontiguousarray(next(blocks))
                np.testing.assert_array_equal(client.process(block), local.process(block))

        go_on()
        yield go_on
        go_on()


def closed(link):
    """Wait until the other side hangs up: what it said."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := link.recv(4096):
            said += data
    return said


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes.fromhex("160301020001000001fc0303"),
        os.urandom(64).replace(b"A", b"B"),
    ],
    ids=["http", "tls", "random"],
)
def test_strangers_are_closed_at_once_and_without_a_word(
    server, bystander, data, nothing_left_of_server
):
    with server.address.connect(PATIENCE) as link:
        link.sendall(data)
        assert closed(link) == b""
    bystander()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (HEADER.pack(MAGIC, 9, Type.HELLO, 0, 0, 2, 0) + b"{}", b"version"),
        (HEADER.pack(MAGIC, 1, Type.HELLO, 0, 0, 0xFFFFFFFF, 0), b"too-large"),
        (HEADER.pack(MAGIC, 1, Type.HELLO, 0, 0, 1 << 31, 0), b"too-large"),
        (HEADER.pack(MAGIC, 1, Type.OPEN, 0, 1, 2, 0) + b"{}", b"hello"),
    ],
)
def test_who_breaks_the_protocol_is_told_and_closed(
    server, bystander, data, code, nothing_left_of_server
):
    with server.address.connect(PATIENCE) as link:
        link.sendall(data)
        assert code in closed(link)
    bystander()


def test_random_and_mutated_messages_harm_nobody(server, peer, bystander, nothing_left_of_server):
    rng = np.random.default_rng(0)
    for _ in range(200):
        with peer(server.address) as client:
            good = bytearray(client.protocol.audio(1, np.zeros((2, 64), np.float32)))
            for place in rng.integers(0, len(good), 3):
                good[place] = rng.integers(256)
            with contextlib.suppress(OSError):
                client.link.sendall(bytes(good) + rng.bytes(100))
    bystander()


def test_two_hundred_connections_opened_and_dropped(server, bystander, nothing_left_of_server):
    links = [server.address.connect(PATIENCE) for _ in range(200)]
    bystander()
    for link in links:
        link.close()
    bystander()


def test_a_client_that_stops_reading_is_its_own_problem(
    server, peer, bystander, music, nothing_left_of_server
):
    noise = music(2, 4096)
    with peer(server.address) as client:
        client.open(mode="track")
        client.link.settimeout(0.2)
        # Far more than any buffer holds, and not one answer is read.
        with contextlib.suppress(TimeoutError):
            for _ in range(2000):
                client.send(client.protocol.audio(1, noise))
        bystander()
    bystander()


def test_a_client_killed_in_mid_stream(server, bystander, music, nothing_left_of_server):
    script = """if True:
        import sys, numpy as np
        from pathlib import Path
        from plugin_bridge.address import UnixAddress
        from plugin_bridge.protocol.client_side import ClientProtocol
        from plugin_bridge.protocol.messages import Open, QueryMessage
        link, protocol = UnixAddress(Path(sys.argv[1])).connect(), ClientProtocol((1,))
        link.sendall(protocol.hello("doomed"))
        link.sendall(protocol.open(1, Open(48000, 2, 4096, [QueryMessage("drums")], mode="track")))
        opened = False
        while not opened:
            data = link.recv(4096)
            assert data, "refused"
            opened = any(event.stream == 1 for event in protocol.receive(data))
        while True:
            link.sendall(protocol.audio(1, np.ones((2, 4096), np.float32)))
            link.recv(1 << 16)
            print("streaming", flush=True)
    """
    command = [sys.executable, "-c", script, str(server.address.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as doomed:
        assert doomed.stdout.readline()
        bystander()
        doomed.kill()
    bystander()


def test_half_a_message_and_then_nothing(server, peer, bystander, nothing_left_of_server):
    with peer(server.address) as client:
        client.open(mode="track")
        client.link.sendall(client.protocol.audio(1, np.zeros((2, 512), np.float32))[:100])
        client.link.shutdown(socket.SHUT_WR)
        assert client.hung_up()
        bystander()


def test_text_that_is_no_utf8(server, peer, bystander):
    with peer(server.address) as client:
        client.open(mode="track")
        good = client.protocol.change(1, Change(queries=[QueryMessage("xxxx")]))
        client.link.sendall(good.replace(b"xxxx", b"\xff\xfe\xfd\xfc"))
        assert client.answer(Type.ERROR).message.code == "not-utf8"
        assert client.process(np.zeros((2, 512), np.float32)).shape == (2, 512)
    bystander()


@pytest.fixture
def short(bridge_server):
    """A server of this process with tight limits."""

    @contextlib.contextmanager
    def make(tmp_path, **limits):
        server = bridge_server(UnixAddress(tmp_path / "s.sock"), limits=Limits(**limits))
        with running(server) as address:
            yield address, server

    return make


def test_silence_is_not_waited_for(short, peer, tmp_path):
    with short(tmp_path, idle_seconds=1, hello_seconds=1) as (address, server):
        with address.connect(PATIENCE) as link:
            link.sendall(MAGIC)
            assert b'"code":"hello"' in closed(link)
        with peer(address) as client:
            client.open(mode="track")
            assert client.hung_up()
            assert client.failures[-1].code == "idle"
        assert server.statistics()["streams"] == []


def test_one_client_too_many_is_told(short, peer, tmp_path):
    with short(tmp_path, clients=2) as (address, server):
        with peer(address), peer(address) as second:
            with pytest.raises(peer.refused, match="2 clients"):
                peer(address)
            second.open(mode="track")
        assert server.statistics()["clients_refused"] == 1


def test_no_thread_outlives_the_server(short, peer, tmp_path):
    before = set(threading.enumerate())
    with short(tmp_path) as (address, _), peer(address) as client:
        client.open(mode="track")
        client.process(np.ones((2, 4096), np.float32))
    assert set(threading.enumerate()) <= before


def test_only_this_user_may_open_the_socket(server):
    assert stat.S_IMODE(server.address.path.stat().st_mode) == 0o600


def test_the_default_folder_is_private(bridge_server, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = bridge_server(default_address())
    with running(server):
        assert stat.S_IMODE(runtime_folder().stat().st_mode) == 0o700
    runtime_folder().chmod(0o755)
    with pytest.raises(Exception, match="not this user's alone"), running(server):
        pass


def test_tcp_asks_for_the_token(start, peer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = start("--tcp", "0")
    address = server.address
    assert stat.S_IMODE(address.token_path.stat().st_mode) == 0o600
    with peer(address) as client:
        assert client.open(mode="track").rows == 1
    with pytest.raises(peer.refused, match="token"):
        peer(address, token="")
    # Either side finds out that the other knows another one.
    with pytest.raises(ProtocolError, match="token"):
        peer(address, token="0" * 64)
    assert server.end() == 0
    assert not address.token_path.exists()


def test_another_interface_needs_a_flag_and_warns(start):
    server = start("--tcp", "0", "--host", "0.0.0.0")
    assert server.end() == 0
    assert "reachable from other machines" in server.log.read_text()


def test_a_second_server_is_refused_and_a_stale_socket_is_not(start, peer):
    first = start()
    second = start(ready=False)
    assert second.ended() == 2
    assert "another server listens" in second.log.read_text()
    first.kill()
    assert first.address.path.exists()
    third = start()
    with peer(third.address) as client:
        assert client.open(mode="track").rows == 1
    assert third.end(signal.SIGINT) == 0
    assert not third.address.path.exists()


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("given", ["socket", "folder"])
def test_a_socket_that_somebody_else_made_is_not_trusted(start, tmp_path, given):
    folder = tmp_path / "theirs"
    folder.mkdir()
    theirs = start(folder=folder)
    os.chown(folder if given == "folder" else theirs.address.path, 65534, 65534)
    with pytest.raises(AddressError, match="belongs to another user"):
        theirs.address.connect()


def test_a_file_in_the_way_is_left_alone(start, tmp_path):
    (tmp_path / "bridge.sock").write_text("mine")
    assert start(ready=False).ended() == 2
    assert (tmp_path / "bridge.sock").read_text() == "mine"


def test_sigterm_answers_what_has_come_in(start, peer, separator, music):
    server = start()
    audio = music(2, 24 * BLOCK)
    blocks = [np.ascontiguousarray(block) for block in np.split(audio, 24, axis=1)]
    local = StreamingSeparator("drums", 48_000, 2, "mix", separator)
    with peer(server.address) as client:
        client.open(mode="mix")
        for block in blocks:
            client.send(client.protocol.audio(1, block))
        # Once the last block is followed by a pong, all of them are in.
        client.send(client.protocol.plain(Type.PING, 0))
        answers = []
        while len(answers) < 24:
            event = client.event()
            if hasattr(event, "rows"):
                answers.append(event.rows[0])
            elif event.type == Type.PONG:
                server.process.terminate()
        assert client.hung_up()
        assert client.failures[-1].code == "shutdown"
    for block, answer in zip(blocks, answers, strict=True):
        np.testing.assert_array_equal(answer, local.process(block))
    assert server.ended() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_costs_the_log_only(start, peer):
    server = start("--log", "/dev/full")
    with peer(server.address) as client:
        assert client.open(mode="track").rows == 1
        assert client.process(np.zeros((2, 512), np.float32)).shape == (2, 512)
    assert server.end() == 0


def test_the_clock_may_jump(short, peer, tmp_path, monkeypatch, separator, music):
    audio = music(2, 8 * BLOCK)
    local = StreamingSeparator("drums", 48_000, 2, "track", separator)
    now = time.time()
    with short(tmp_path) as (address, _), peer(address) as client:
        client.open(mode="track")
        for number, block in enumerate(np.split(audio, 8, axis=1)):
            monkeypatch.setattr(time, "time", lambda: now + 1e6 * (-1) ** number)  # noqa: B023
            block = np.ascontiguousarray(block)
            np.testing.assert_array_equal(client.process(block), local.process(block))


def test_a_model_replaced_on_disk(start, peer, tmp_path, separator, music):
    bundle = tmp_path / "bundle"
    shutil.copytree(packaged_folder("mini"), bundle)
    words = shutil.copytree(PACKAGED / "text_encoder", tmp_path / "text_encoder")
    server = start("--model", str(bundle))
    block = music(2, BLOCK)
    local = StreamingSeparator("drums", 48_000, 2, "track", separator)
    with peer(server.address) as client, peer(server.address) as other:
        client.open(mode="track")
        (bundle / "separator.onnx").write_bytes(b"something else")
        for name in ("text_encoder.onnx", "tokenizer.json"):
            (words / name).write_bytes(b"something else")
        np.testing.assert_array_equal(client.process(block), local.process(block))
        # What is loaded goes on, for new streams as well.
        other.open(mode="track")
        with pytest.raises(peer.refused, match="tokenizer"):
            other.open("a sound that nobody has ever heard of", stream=2)
        assert other.process(block).shape == block.shape
    assert server.end() == 0


def test_a_pack_must_be_for_the_model(start, peer, tmp_path, audiosep):
    (tmp_path / "queries.txt").write_text("a bell in the fog\n")
    pack = tmp_path / "bell.safetensors"
    assert audiosep("queries", "pack", str(tmp_path / "queries.txt"), "-o", str(pack))[0] == 0
    server = start("--pack", str(pack))
    with peer(server.address) as client:
        assert client.open("a bell in the fog", mode="track").rows == 1
    assert server.end() == 0
    pack.write_bytes(b"no pack")
    broken = start("--pack", str(pack), ready=False)
    assert broken.ended() == 1
    assert "is damaged" in broken.log.read_text()
