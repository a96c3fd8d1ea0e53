"""Where the answers of a stream go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from plugin_bridge.protocol.server_side import Request, ServerProtocol


@dataclasses.dataclass(frozen=True)
class Outlet:
    """Where a stream's answers go.

    Attributes:
        protocol: Makes their bytes.
        send: Sends them; called on the stream's thread.
        failed: Called with an error of this program's own.
        closed: Called when a CLOSE has been worked off; on the stream's thread, which then ends.
    """

    protocol: ServerProtocol
    send: Callable[[bytes], None]
    failed: Callable[[Exception], None]
    closed: Callable[[Request], None]
