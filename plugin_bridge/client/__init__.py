"""Clients of the bridge: streams whose masks are made by ``audiosep serve``.

:mod:`alignment` plays every answer at its time, :mod:`request` and :mod:`exchange` know what is
asked and answered, :mod:`link` moves the bytes; :mod:`blocking` and :mod:`asynchronous` are what
scripts use.
"""
