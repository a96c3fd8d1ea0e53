"""The client for programs on asyncio.

Imports: audiosep_core.settings, plugin_bridge.address, plugin_bridge.client,
plugin_bridge.live, plugin_bridge.protocol; numpy.
"""
