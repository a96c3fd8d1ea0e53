"""Asks a running server for its figures."""

from __future__ import annotations

import contextlib

from plugin_bridge.address import Address
from plugin_bridge.client.sync.link import Link


def ask(address: Address, kind: str, timeout: float, token: str | None = None) -> str:
    """Figures of the server at an address, as text.

    Args:
        address: Of the server.
        kind: "json" or "prometheus".
        timeout: Seconds to wait for each step.
        token: What the server asks for; by default read from the file where it leaves it.

    Raises:
        BridgeError: No server answers there, or it refuses.
        AddressError: The server's token cannot be read.
    """
    with contextlib.closing(Link(address, timeout, token)) as link:
        link.greet()
        reply = link.ask(link.exchange.statistics, server=True, prometheus=kind == "prometheus")
    return reply.payload.decode()
