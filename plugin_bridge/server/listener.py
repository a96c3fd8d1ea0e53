"""The socket that a server listens on: nobody else's, and gone when the server is."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from audiosep_core.atomic import replacing
from plugin_bridge.address import (
    NO_FOLLOW,
    Address,
    AddressError,
    TcpAddress,
    UnixAddress,
    make_runtime_folder,
    read_private,
    runtime_folder,
)

_BACKLOG = 512
_TOKEN_BYTES = 32
_PROBE_SECONDS = 2.0
#: Descriptor of the first socket that the system hands over.
_FIRST_INHERITED = 3


def inherited_socket() -> tuple[socket.socket, Address] | None:
    """What the system listens on for this process, as systemd's socket units do, and its address.

    Raises:
        AddressError: It is more than one socket, or one that others may open.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        # What this process starts has not inherited them.
        os.environ.pop(name, None)
    if count != "1":
        raise AddressError(
            f"the system hands over {count or 'no'} sockets; give it one unit of one"
        )
    listener = socket.socket(fileno=_FIRST_INHERITED)
    listener.set_inheritable(False)
    if listener.family != socket.AF_UNIX:
        host, port = listener.getsockname()[:2]
        return listener, TcpAddress(port, host)
    address = UnixAddress(Path(os.fsdecode(listener.getsockname())))
    if not address.path.is_socket() or address.path.stat().st_mode & 0o077:
        raise AddressError(f"others may open {address}; set SocketMode=0600 in its unit")
    return listener, address


@contextlib.contextmanager
def listening(
    address: Address, inherited: socket.socket | None = None
) -> Iterator[tuple[socket.socket, Address, str]]:
    """Listen, and clean up in the end.

    Args:
        address: Where; port 0 takes any that is free.
        inherited: Listens there already, and is not cleaned up.

    Yields:
        The listening socket, the address with its port, and the token that clients must show,
        empty for a Unix-domain socket.

    Raises:
        AddressError: Another server listens there, or the address cannot be had.
    """
    if isinstance(address, TcpAddress):
        with _tcp(address, inherited) as (listener, bound, token):
            yield listener, bound, token
    elif inherited is not None:
        yield inherited, address, ""
    else:
        with _unix(address) as listener:
            yield listener, address, ""


@contextlib.contextmanager
def _unix(address: UnixAddress) -> Iterator[socket.socket]:
    address.check()
    path = address.path
    if path.parent == runtime_folder():
        make_runtime_folder(path.parent)
    with _only_server(path):
        _remove_stale(address)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The socket is made with its mode, so that there is no moment with another.
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise _unusable(path, error) from None
        made = path.stat().st_ino
        try:
            yield listener
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                # Only the one that was made here.
                if path.stat().st_ino == made:
                    path.unlink()


@contextlib.contextmanager
def _only_server(path: Path) -> Iterator[None]:
    """Hold the lock beside the socket, which goes with the process, however it ends."""
    import fcntl

    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | NO_FOLLOW, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _taken(path) from None
        yield
    finally:
        os.close(descriptor)


def _remove_stale(address: UnixAddress) -> None:
    """Remove the socket of a server that is gone."""
    path = address.path
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise AddressError(f"{path} is there and no socket; choose another place with --socket")
    try:
        address.connect(_PROBE_SECONDS).close()
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
            raise _taken(path) from None
    else:
        raise _taken(path)
    path.unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {path} ({error.strerror}); choose another place with --socket"
    )


def _taken(path: Path) -> AddressError:
    return AddressError(
        f"another server listens on {path}; 'audiosep serve --status' asks it how it does"
    )


@contextlib.contextmanager
def _tcp(
    address: TcpAddress, inherited: socket.socket | None
) -> Iterator[tuple[socket.socket, TcpAddress, str]]:
    listener = inherited or _tcp_listener(address)
    bound = TcpAddress(listener.getsockname()[1], address.host)
    token = secrets.token_hex(_TOKEN_BYTES)
    path = bound.token_path
    make_runtime_folder(path.parent)
    try:
        with replacing(path, mode=0o600) as partial:
            partial.write_text(f"{token}\n", encoding="ascii")
        yield listener, bound, token
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if read_private(path).strip() == token:
                path.unlink()


def _tcp_listener(address: TcpAddress) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        return socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(
            f"cannot listen on {address} ({reason}); choose another port with --tcp"
        ) from None
