"""Live use: streaming, pedalboard and the local bridge for DAW front-ends.

    >>> from plugin_bridge import StreamingSeparator
    >>> stream = StreamingSeparator(["a person speaking"], sample_rate=48000, channels=2)
    >>> target = stream.process(block)  # stream.latency_samples behind

Names are imported when they are first used, pedalboard when the first ``SeparationBoard`` is made.

Imports: audiosep_core.settings, audiosep_core.signal, plugin_bridge.client.asyncio,
plugin_bridge.client.sync, plugin_bridge.effect, plugin_bridge.live, plugin_bridge.plugin.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiosep_core.settings import Delta, Query, Settings
    from audiosep_core.signal.windows import Windows, WindowSeconds
    from plugin_bridge.client.asyncio.client import AsyncBridgeClient
    from plugin_bridge.client.sync.client import BridgeClient
    from plugin_bridge.effect.board import SeparationBoard
    from plugin_bridge.effect.bridge_processor import BridgeProcessor
    from plugin_bridge.effect.mix import SeparationMix
    from plugin_bridge.effect.processor import AudioSepProcessor
    from plugin_bridge.live.engine import StreamingSeparator
    from plugin_bridge.live.latency import LatencyParts
    from plugin_bridge.plugin.vst3 import failed_seconds, load_vst3

_HOMES = {
    "AsyncBridgeClient": "plugin_bridge.client.asyncio.client",
    "AudioSepProcessor": "plugin_bridge.effect.processor",
    "BridgeClient": "plugin_bridge.client.sync.client",
    "BridgeProcessor": "plugin_bridge.effect.bridge_processor",
    "Delta": "audiosep_core.settings",
    "LatencyParts": "plugin_bridge.live.latency",
    "Query": "audiosep_core.settings",
    "SeparationBoard": "plugin_bridge.effect.board",
    "SeparationMix": "plugin_bridge.effect.mix",
    "Settings": "audiosep_core.settings",
    "StreamingSeparator": "plugin_bridge.live.engine",
    "WindowSeconds": "audiosep_core.signal.windows",
    "Windows": "audiosep_core.signal.windows",
    "failed_seconds": "plugin_bridge.plugin.vst3",
    "load_vst3": "plugin_bridge.plugin.vst3",
}

__all__ = [
    "AsyncBridgeClient",
    "AudioSepProcessor",
    "BridgeClient",
    "BridgeProcessor",
    "Delta",
    "LatencyParts",
    "Query",
    "SeparationBoard",
    "SeparationMix",
    "Settings",
    "StreamingSeparator",
    "WindowSeconds",
    "Windows",
    "failed_seconds",
    "load_vst3",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
