"""Clients of the bridge: streams whose masks are made by ``audiosep serve``.

What is here knows no sockets; ``sync`` and ``asyncio`` are the shells around it, cut alike:
``client``, ``stream``, ``link``.

Imports: audiosep_core.settings, audiosep_core.signal, plugin_bridge.live,
plugin_bridge.protocol; numpy.
"""
