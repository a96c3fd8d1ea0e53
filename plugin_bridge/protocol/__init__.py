"""The wire protocol of the bridge: bytes in, messages out, and back; no sockets, no threads.

Imports: audiosep_core.settings, audiosep_core.signal; numpy.
"""
