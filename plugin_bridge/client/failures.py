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
    known = _ERRORS.get(failure.code)
    if known is not None and not failure.fatal:
        return known(failure.message)
    return BridgeError(f"the server at {server} refused: {failure.message} ({failure.code})")


def unreachable(server: str, error: OSError) -> BridgeError:
    """Nobody answers at that address."""
    reason = error.strerror or str(error) or type(error).__name__
    return BridgeError(f"no server answers at {server} ({reason}); start one with 'audiosep serve'")


def lost(server: str, reason: str) -> BridgeError:
    """The connection ended."""
    return BridgeError(
        f"the connection to the server at {server} is lost ({reason}); start it again with "
        "'audiosep serve', then reset() the stream or open another one"
    )
