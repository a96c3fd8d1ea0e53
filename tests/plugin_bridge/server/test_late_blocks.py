"""Blocks that are answered behind their deadline are counted; the clock is the test's."""

import threading
import time
import types

import numpy as np
import pytest

from audiosep_core import Settings
from audiosep_core.settings import StreamFormat
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Welcome
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.protocol.server_side import Block, ServerProtocol
from plugin_bridge.server import stream as stream_module
from plugin_bridge.server.engines import ServedModel
from plugin_bridge.server.memory import MemoryBudget
from plugin_bridge.server.stream import Outlet, ServedStream

RATE, SLACK = 48_000, 4800


@pytest.mark.parametrize("contract, late", [("realtime", 3), ("render", 0)])
def test_late_blocks_are_counted(local, monkeypatch, contract, late):
    lead = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + lead[0])
    monkeypatch.setattr(stream_module, "time", clock)
    answered = threading.Semaphore(0)
    #: What sending takes, in slacks: a block that is just in time is not late.
    takes = [0.0, 1.5, 0.0, 40.0, 0.1, 1.5]

    def send(data):
        lead[0] += takes.pop(0) * SLACK / RATE
        answered.release()

    def fail(error):
        raise error

    model = ServedModel(local, "mini")
    protocol = ServerProtocol(Limits(), Welcome(0, "test", "mini", {}))
    request = StreamRequest(Settings("drums"), StreamFormat(RATE, 1), contract, SLACK)
    stream = ServedStream(
        1, request, model, Outlet(protocol, send, fail, fail), MemoryBudget(1 << 30)
    )
    try:
        for number in range(6):
            block = Block(1, number, np.zeros((1, 64), np.float32))
            stream.put_block(block, clock.monotonic())
            assert answered.acquire(timeout=60)
        stream.close(drain=True)
        stream.join()
        assert (stream.blocks, stream.late_blocks) == (6, late)
    finally:
        stream.close()
        stream.join()
        model.close()
