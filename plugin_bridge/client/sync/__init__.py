"""The client for scripts, and for hosts that process audio on a thread.

Imports: audiosep_core.settings, plugin_bridge.address, plugin_bridge.client,
plugin_bridge.live, plugin_bridge.protocol; numpy.
"""
