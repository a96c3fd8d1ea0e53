"""The wire protocol of the bridge: bytes in, messages out, and back; no sockets, no threads.

``PROTOCOL.md`` is the specification; :mod:`wire` cuts bytes into frames, :mod:`messages` gives
them meaning, :mod:`server_side` and :mod:`client_side` know what may follow what.
"""
