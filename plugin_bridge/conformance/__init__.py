"""Whether a server keeps to PROTOCOL.md: cases that any server can be put through.

It speaks in bytes and knows nothing of the server's code.

Imports: plugin_bridge.address, plugin_bridge.protocol; numpy.
"""
