"""Who takes a server's place gets neither token nor query nor audio, and harms no ear."""

import asyncio
import os
import socket
import threading

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import AsyncBridgeClient, BridgeClient
from plugin_bridge.address import (
    AddressError,
    TcpAddress,
    UnixAddress,
    default_address,
    make_runtime_folder,
    read_private,
    runtime_folder,
)
from plugin_bridge.protocol import messages
from plugin_bridge.protocol.messages import Challenge, Welcome
from plugin_bridge.protocol.wire import Frame, Type

QUERY = "a secret sound"
ANSWERS = {
    "welcome": Frame(Type.WELCOME, 0, 0, messages.encode(Welcome(2, "s", "mini", {}))).encode(),
    "challenge": Frame(
        Type.CHALLENGE, 0, 0, messages.encode(Challenge("0" * 64, "0" * 64))
    ).encode(),
}


class Impostor:
    """Listens on a port that a server left, answers a HELLO, and keeps all that it hears."""

    def __init__(self, port, answer):
        self.heard = b""
        self.hung_up = threading.Semaphore(0)
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link:
                try:
                    self.heard += link.recv(1 << 16)
                    link.sendall(self._answer)
                    while data := link.recv(1 << 16):
                        self.heard += data
                except OSError:
                    pass
            self.hung_up.release()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture(params=ANSWERS)
def impostor(request, start, tmp_path, monkeypatch):
    """It has taken the port of a server that was killed: (impostor, port, token)."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = start("--tcp", "0")
    token = server.address.token()
    server.kill()
    assert len(token) == 64
    taken = Impostor(server.address.port, ANSWERS[request.param])
    yield taken, server.address.port, token
    taken.close()


def heard_nothing(taken, token):
    assert taken.hung_up.acquire(timeout=60)
    assert b"HELLO" not in taken.heard and taken.heard[5] == Type.HELLO
    for secret in (token.encode(), QUERY.encode()):
        assert secret not in taken.heard
    # One frame, and nothing behind it.
    assert len(taken.heard) == 24 + int.from_bytes(taken.heard[12:16], "little")


def test_the_python_client_turns_away(impostor):
    taken, port, token = impostor
    with BridgeClient(tcp=port) as client, pytest.raises(BridgeError, match="not to be trusted"):
        client.open(QUERY, 48_000, 2)
    heard_nothing(taken, token)


def test_the_client_on_asyncio_turns_away(impostor):
    taken, port, token = impostor

    async def run():
        async with AsyncBridgeClient(tcp=port) as client:
            with pytest.raises(BridgeError, match="not to be trusted"):
                await client.open(QUERY, 48_000, 2)

    asyncio.run(run())
    heard_nothing(taken, token)


def test_the_status_turns_away(impostor, audiosep):
    taken, port, token = impostor
    code, _, err = audiosep("serve", "--tcp", port, "--status")
    assert code == 1 and "not to be trusted" in err
    heard_nothing(taken, token)


def test_the_c_client_turns_away(impostor, c_client, music):
    taken, port, token = impostor
    audio = music(2, 4096)
    with c_client(f"tcp:{port}", [QUERY], 48_000, 2, latency=512) as client:
        out = client.process(audio)
        assert not client.stats.connected and "token" in client.error
    np.testing.assert_array_equal(out[:, 512:], audio[:, :-512])
    # It tries again from time to time, and says no more.
    first = taken.heard[: 24 + int.from_bytes(taken.heard[12:16], "little")]
    assert first[5] == Type.HELLO
    for secret in (token.encode(), QUERY.encode(), audio[0, :64].tobytes()):
        assert secret not in taken.heard


def test_the_c_client_and_a_server_prove_themselves(start, c_client, music, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = start("--tcp", "0")
    with c_client(f"tcp:{server.address.port}", ["drums"], 48_000, 2, contract="render") as client:
        assert client.stats.connected, client.error
        client.process(music(2, 48_000))
        assert client.stats.failed == 0
    assert server.end() == 0


@pytest.fixture
def token_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    make_runtime_folder(runtime_folder())
    return TcpAddress(7777).token_path


@pytest.mark.parametrize("kind", ["link", "fifo", "empty", "none"])
def test_a_token_is_read_from_a_file_of_ones_own_only(token_file, c_client, tmp_path, kind):
    (tmp_path / "elsewhere").write_text("ab" * 32 + "\n")
    if kind == "link":
        token_file.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(token_file)
    elif kind == "empty":
        token_file.write_text("\n")
    with pytest.raises(AddressError, match="token"):
        TcpAddress(7777).token()
    with c_client("tcp:7777", ["drums"], 48_000, 2) as client:
        assert "no server of this user has left a token" in client.error


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_token_of_somebody_else_is_none(token_file):
    token_file.write_text("ab" * 32 + "\n")
    os.chown(token_file, 65534, 65534)
    with pytest.raises(PermissionError):
        read_private(token_file)


@pytest.fixture
def squatted(tmp_path, monkeypatch):
    """The folder in the shared place is taken, and the home folder is this test's."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr("plugin_bridge.address._SHARED", str(tmp_path))
    return tmp_path / f"audiosep-{os.getuid()}"


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_folder_that_is_taken_keeps_nobody_from_serving(squatted, bridge_server, tmp_path, kind):
    from plugin_bridge.server.server import running

    assert runtime_folder() == squatted
    if kind == "open":
        squatted.mkdir()
        squatted.chmod(0o777)
    elif kind == "link":
        squatted.symlink_to(tmp_path / "home")
    else:
        squatted.write_text("")
    assert runtime_folder() == tmp_path / "home" / ".audiosep"
    with running(bridge_server(default_address())) as address:
        assert address == UnixAddress(tmp_path / "home" / ".audiosep" / "bridge.sock")
        with BridgeClient() as client:
            assert client.statistics()["clients"] >= 1


def test_a_folder_of_ones_own_is_used(squatted):
    squatted.mkdir(mode=0o700)
    assert runtime_folder() == squatted


def deafening(rows):
    return np.resize(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5], np.float32), rows)


def loud_server(server, link, protocol):
    for audio, answer in server.blocks(link, protocol):
        link.sendall(answer(deafening((2, *audio.shape))))


def bounded(out):
    assert np.isfinite(out).all()
    assert np.abs(out).max() == 1000
    assert (out == 0.5).any()


def test_what_comes_back_is_bounded(fake, c_client, wait_until):
    server = fake(loud_server, latency=0, slack=4096, rows=2)
    block = np.full((2, 512), 0.25, np.float32)
    outputs = {"outputs": "target+residual"}
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", 48_000, 2, contract="render", **outputs)
        bounded(np.concatenate([stream.process(block) for _ in range(20)], -1))
    with c_client(server.address, ["drums"], 48_000, 2, contract="render") as client:
        bounded(np.concatenate([client.process(block) for _ in range(20)], -1))
