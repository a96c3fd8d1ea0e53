"""A server that the system starts once somebody connects to a socket that it listens on."""

import os
import socket
import subprocess
import sys

import pytest

from plugin_bridge.address import TcpAddress, UnixAddress

#: What systemd does: the socket as descriptor 3, and who it is for.
START = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv.pop(1))
from audiosep_core.commands import main
main()
"""


@pytest.fixture
def activate(tmp_path):
    """Starts a server for a socket: a function that gives its exit code and what it said."""
    processes = []

    def run(listener, *options, count=1):
        command = [sys.executable, "-c", START, str(listener.fileno()), str(count), "serve"]
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--threads", "1", *options],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        processes.append(process)
        return lambda: (process.wait(60), process.stdout.read())

    yield run
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def unix(tmp_path):
    address = UnixAddress(tmp_path / "bridge.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address.path))
        address.path.chmod(0o600)
        listener.listen()
        yield address, listener


def test_whoever_connected_first_is_served_and_the_socket_stays(unix, activate, peer):
    address, listener = unix
    for _ in range(2):
        with address.connect(60):
            ended = activate(listener, "--idle-exit", "0.2")
            with peer(address) as client:
                assert client.open().model == "mini"
        code, said = ended()
        assert (code, str(address) in said) == (0, True)
        assert address.path.is_socket()


def test_tcp(activate, peer, tmp_path, monkeypatch, wait_until):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = TcpAddress(listener.getsockname()[1])
        activate(listener)
        wait_until(address.token_path.exists)
        with peer(address) as client:
            assert client.open().model == "mini"


@pytest.mark.parametrize(
    ("mode", "count", "options", "complaint"),
    [
        (0o666, 1, (), "SocketMode=0600"),
        (0o600, 2, (), "2 sockets"),
        (0o600, 1, ("--tcp", "0"), "leave --socket and --tcp out"),
    ],
)
def test_what_cannot_be_taken_over(unix, activate, mode, count, options, complaint):
    address, listener = unix
    address.path.chmod(mode)
    code, said = activate(listener, *options, count=count)()
    assert code and complaint in said
