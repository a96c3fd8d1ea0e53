"""What a server's errors are to a caller: the exceptions of the engine in the same process."""

from __future__ import annotations

from audiosep_core.errors import BridgeError, BundleError, ModeError, QueryError
from plugin_bridge.protocol.messages import Failure

_ERRORS: dict[str, type[Exception]] = {
    "bad-query": QueryError,
    "bad-mode": ModeError,
    "bad-model": BundleError,
    "bad-value": ValueError,
    "limit": ValueError,
}


def failure_error(failure: Failure, server: str) -> Exception:
    """The exception for an error message.

    Args:
        failure: What the server said.
        server: Where it listens, for people.
    """
    known, message = _ERRORS.get(failure.code), printable(failure.message)
    if known is not None and not failure.fatal:
        return known(message)
    return BridgeError(f"the server at {server} refused: {message} ({printable(failure.code)})")


def printable(text: object) -> str:
    """What the other side wrote, harmless to a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def unreachable(server: str, error: OSError) -> BridgeError:
    """Nobody answers at that address."""
    reason = error.strerror or str(error) or type(error).__name__
    return BridgeError(f"no server answers at {server} ({reason}); start one with 'audiosep serve'")


def not_ours(server: str, reason: str) -> BridgeError:
    """What listens there is not the server whose token we have."""
    return BridgeError(
        f"what listens at {server} is not to be trusted with anything: {reason}; start "
        "'audiosep serve' there, and use the token that it gives"
    )


def lost(server: str, reason: str) -> BridgeError:
    """The connection ended."""
    return BridgeError(
        f"the connection to the server at {server} is lost ({reason}); start it again with "
        "'audiosep serve', then reset() the stream or open another one"
    )
