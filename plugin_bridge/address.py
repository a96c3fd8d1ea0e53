"""Where the bridge's server listens, and how its clients find it."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import stat
import sys
import tempfile
import time
from pathlib import Path

from audiosep_core.errors import UsageError

#: Bytes of a Unix-domain socket's path that every system takes (macOS the fewest, with its zero).
_LONGEST_PATH = 103
_SOCKET = "bridge.sock"
_RETRY_SECONDS = 0.005
#: Where anybody may make folders.
_SHARED = "/tmp"
#: Where the system has no such flag, it has no other users' links in a private folder either.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
#: Bytes of a token's file, and more than any has.
_LARGEST_SECRET = 1024


class AddressError(UsageError):
    """A server cannot listen, or be found, at an address."""


def runtime_folder() -> Path:
    """Folder of sockets and tokens that only this user may read.

    Where anybody can make folders, somebody else may have made it first: then another one stands
    for it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "audiosep"
    if not hasattr(os, "getuid"):
        return Path(tempfile.gettempdir()) / "audiosep"
    shared = Path(_SHARED) / f"audiosep-{os.getuid()}"
    if _is_private(shared) or not os.path.lexists(shared):
        return shared
    return Path.home() / ".audiosep"


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's alone, and no link to one."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_folder = stat.S_ISDIR(status.st_mode)
    return is_folder and status.st_uid == os.getuid() and not status.st_mode & 0o077


def read_private(path: Path) -> str:
    """The text of a small file of this user's; follows no link, waits for no FIFO.

    Raises:
        OSError: It cannot be read, or is somebody else's or no file.
        UnicodeDecodeError: It is no ASCII text.
    """
    descriptor = os.open(path, os.O_RDONLY | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        own = not hasattr(os, "getuid") or status.st_uid in (os.getuid(), 0)
        if not own or not stat.S_ISREG(status.st_mode):
            raise PermissionError(errno.EPERM, "it is somebody else's", str(path))
        return file.read(_LARGEST_SECRET).decode("ascii")


def make_runtime_folder(folder: Path) -> None:
    """Make a folder that only this user may read.

    Raises:
        AddressError: It cannot be made, or somebody else's lies in its place.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and not _is_private(folder):
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
        self.check_owner()
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

    def check_owner(self) -> None:
        """Whether only this user, or the system, can have put a socket there.

        Raises:
            OSError: There is none.
            AddressError: The path cannot be one of a socket, or is somebody else's.
        """
        self.check()
        # Whoever can put a socket there hears what is sent to it.
        for path in (self.path.parent, self.path):
            if path.lstat().st_uid not in (os.getuid(), 0):
                raise AddressError(f"{path} belongs to another user; choose another socket")

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
            token = read_private(self.token_path).strip()
        except (OSError, UnicodeDecodeError):
            raise AddressError(
                f"there is no token in {self.token_path}; is 'audiosep serve --tcp {self.port}' "
                "running as this user?"
            ) from None
        if not token:
            # Without one nobody could be told from who has taken the port.
            raise AddressError(
                f"{self.token_path} is empty; start 'audiosep serve --tcp {self.port}' again"
            )
        return token


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
