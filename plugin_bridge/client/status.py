"""Asks a running server for its figures."""

from __future__ import annotations

from plugin_bridge.address import Address, AddressError
from plugin_bridge.protocol.client_side import Answer, ClientProtocol
from plugin_bridge.protocol.messages import Failure, Statistics
from plugin_bridge.protocol.wire import ProtocolError, Type


def ask(address: Address, kind: str, timeout: float) -> str:
    """Figures of the server at an address, as text.

    Args:
        address: Of the server.
        kind: "json" or "prometheus".
        timeout: Seconds to wait for each step.

    Raises:
        AddressError: No server answers there, or it refuses.
    """
    protocol = ClientProtocol()
    token = address.token()
    try:
        with address.connect(timeout) as link:
            link.sendall(protocol.hello("audiosep status", token))
            link.sendall(protocol.statistics(0, Statistics(kind)))  # type: ignore[arg-type]
            while data := link.recv(1 << 16):
                for event in protocol.receive(data):
                    if not isinstance(event, Answer):
                        continue
                    if event.type == Type.REPORT:
                        return event.payload.decode()
                    if isinstance(event.message, Failure):
                        raise AddressError(
                            f"the server on {address} refuses: {event.message.message}"
                        )
    except (OSError, ProtocolError) as error:
        cause = getattr(error, "strerror", None) or error
        raise AddressError(
            f"no server answers on {address} ({cause}); start one with 'audiosep serve'"
        ) from None
    raise AddressError(f"the server on {address} hung up; is it a bridge of audiosep?")
