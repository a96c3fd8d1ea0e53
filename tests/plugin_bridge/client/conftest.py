"""A client of the real server, and the engine to compare with."""

import pytest

from plugin_bridge import BridgeClient

PATIENCE = 60


@pytest.fixture
def client(server):
    with BridgeClient(socket=server.address.path, timeout=PATIENCE) as client:
        yield client
