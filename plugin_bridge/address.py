"""Where the bridge's server listens, and how its clients find it."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from audiosep_core.errors import UsageError

#: Bytes of a Unix-domain socket's path that every system takes (macOS the fewest, with its zero).
_LONGEST_PATH = 103
_SOCKET = "bridge.sock"
_RETRY_SECONDS = 0.005


class AddressError(UsageError):
    """A server cannot listen, or be found, at an address."""


def runtime_folder() -> Path:
    """Folder of sockets and tokens that only this user may read."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "audiosep"
    if hasattr(os, "getuid"):
        return Path("/tmp") / f"audiosep-{os.getuid()}"
    return Path(tempfile.gettempdir()) / "audiosep"


def make_runtime_folder(folder: Path) -> None:
    """Make a folder that only this user may read.

    Raises:
        AddressError: It cannot be made, or somebody else's lies in its place.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            status = folder.lstat()
            if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
                raise AddressError(
                    f"{folder} is not this user's alone; remove it, or choose another place with "
                    "--socket"
                )
    except OSError as error:
        raise AddressError(
            f"{folder} cannot be made ({error.strerror}); choose another place with --socket"
        ) from None


@dataclasses.dataclass(frozen=True)
class UnixAddress:
    """A Unix-domain socket.

    Attributes:
        path: Of the socket.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def connect(self, timeout: float | None = None) -> socket.socket:
        """A connection to whoever listens there.

        Args:
            timeout: In seconds, for this and every later call on the connection.

        Raises:
            OSError: Nobody does.
            AddressError: The path cannot be one of a socket, or is somebody else's.
        """
        self.check()
        # Whoever can put a socket there hears what is sent to it.
        for path in (self.path.parent, self.path):
            if path.lstat().st_uid not in (os.getuid(), 0):
                raise AddressError(f"{path} belongs to another user; choose another socket")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                connection.connect(str(self.path))
                return connection
            except BlockingIOError:
                # Too many are waiting to be let in; the system does not queue any more.
                if until is None or time.monotonic() > until:
                    connection.close()
                    raise
                time.sleep(_RETRY_SECONDS)
            except OSError:
                connection.close()
                raise

    def check(self) -> None:
        """Whether the path can be one of a socket.

        Raises:
            AddressError: It is too long, or the system has no such sockets.
        """
        if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
            raise AddressError("this system has no Unix-domain sockets; use --tcp PORT")
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            raise AddressError(
                f"{self.path} is too long for a socket (at most {_LONGEST_PATH} bytes); choose a "
                "shorter one"
            )

    def token(self) -> str:
        """No token: the socket's mode tells who may connect."""
        return ""


@dataclasses.dataclass(frozen=True)
class TcpAddress:
    """A TCP port.

    Attributes:
        port: Number of it.
        host: Name or number of the interface.
    """

    port: int
    host: str = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self, timeout: float | None = None) -> socket.socket:
        """As :meth:`UnixAddress.connect`."""
        connection = socket.create_connection((self.host, self.port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @property
    def token_path(self) -> Path:
        """Where a server on this machine leaves the token for its clients."""
        return runtime_folder() / f"bridge-{self.port}.token"

    def token(self) -> str:
        """The token of the server on this machine.

        Raises:
            AddressError: There is none to be read.
        """
        try:
            return self.token_path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise AddressError(
                f"there is no token in {self.token_path}; is 'audiosep serve --tcp {self.port}' "
                "running as this user?"
            ) from None


Address = UnixAddress | TcpAddress


def default_address() -> UnixAddress:
    """Where ``audiosep serve`` listens unless told otherwise."""
    return UnixAddress(runtime_folder() / _SOCKET)


def choose_address(socket: str | Path | None, tcp: int | None, host: str) -> Address:
    """The address that was asked for: a socket, a port, or by default the usual socket.

    Raises:
        AddressError: Both are given.
    """
    if socket is not None and tcp is not None:
        raise AddressError("a socket and a port exclude each other; give one of them")
    if tcp is not None:
        return TcpAddress(tcp, host)
    return default_address() if socket is None else UnixAddress(Path(socket).absolute())
