"""The bridge's server: many clients' streams through one model.

Imports: audiosep_core.model, audiosep_core.query, audiosep_core.runtime,
audiosep_core.separator, audiosep_core.settings, audiosep_core.signal, plugin_bridge.address,
plugin_bridge.live, plugin_bridge.protocol; numpy, prometheus_client.
"""
