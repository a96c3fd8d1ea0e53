"""Live use: streaming, pedalboard and the local bridge for DAW front-ends.

    >>> from plugin_bridge import StreamingSeparator
    >>> stream = StreamingSeparator(["a person speaking"], sample_rate=48000, channels=2)
    >>> target = stream.process(block)  # stream.latency_samples behind

Names are imported when they are first used; pedalboard only by ``SeparationBoard``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiosep_core.selection import Query
    from audiosep_core.windows import Windows
    from plugin_bridge.board import SeparationBoard
    from plugin_bridge.client.asynchronous import AsyncBridgeClient
    from plugin_bridge.client.blocking import BridgeClient
    from plugin_bridge.client.processor import BridgeProcessor
    from plugin_bridge.engine import StreamingSeparator
    from plugin_bridge.latency import Latency
    from plugin_bridge.modes import WindowSeconds
    from plugin_bridge.processor import AudioSepProcessor

_HOMES = {
    "AsyncBridgeClient": "plugin_bridge.client.asynchronous",
    "AudioSepProcessor": "plugin_bridge.processor",
    "BridgeClient": "plugin_bridge.client.blocking",
    "BridgeProcessor": "plugin_bridge.client.processor",
    "Latency": "plugin_bridge.latency",
    "Query": "audiosep_core.selection",
    "SeparationBoard": "plugin_bridge.board",
    "StreamingSeparator": "plugin_bridge.engine",
    "WindowSeconds": "plugin_bridge.modes",
    "Windows": "audiosep_core.windows",
}

__all__ = [
    "AsyncBridgeClient",
    "AudioSepProcessor",
    "BridgeClient",
    "BridgeProcessor",
    "Latency",
    "Query",
    "SeparationBoard",
    "StreamingSeparator",
    "WindowSeconds",
    "Windows",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
