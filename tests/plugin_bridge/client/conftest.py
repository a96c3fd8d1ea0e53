"""A client of the real server, and the engine to compare with."""

import threading

import pytest

from audiosep_core import Separator
from plugin_bridge import BridgeClient

PATIENCE = 60


@pytest.fixture
def client(server):
    with BridgeClient(socket=server.address.path, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="session")
def local():
    """What the server runs, in this process."""
    return Separator(device="cpu", threads=1)


@pytest.fixture
def nothing_left(held):
    """Fails where descriptors or threads of Python are left over."""
    # The network starts threads of its own when it is first used.
    with held("self", threading.active_count):
        yield
