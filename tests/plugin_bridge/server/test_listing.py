"""What a client can ask for: models with their modes, and queries that are known beforehand."""

import asyncio

import pytest

from audiosep_core.errors import BundleError
from audiosep_core.model.installed import installed_models
from plugin_bridge import AsyncBridgeClient, BridgeClient
from plugin_bridge.protocol.client_side import ClientProtocol


@pytest.fixture
def client(server):
    with BridgeClient(server.address.path) as client:
        yield client


def test_every_model_opens_in_the_modes_that_are_told(client):
    models = client.models()
    assert next(iter(models)) == "mini"
    assert set(models) == set(installed_models())
    assert "live" in models["live"] and "live" not in models["mini"]
    for name, modes in models.items():
        for mode in modes:
            client.open("drums", 48_000, 1, mode, "render", model=name).close()


def test_queries_are_those_of_the_packs_and_not_of_others(client, separator):
    client.open("something that nobody else asks", 48_000, 1).close()
    assert client.known_queries() == separator.encoder.pack.queries
    assert client.known_queries("live") == client.known_queries("mini")
    with pytest.raises(BundleError, match="nobody's"):
        client.known_queries("nobody's")


def test_asyncio(server, client):
    async def run():
        async with AsyncBridgeClient(server.address.path) as other:
            return await other.models(), await other.known_queries()

    assert asyncio.run(run()) == (client.models(), client.known_queries())


def test_version_1_does_not_know_the_question(server, peer, monkeypatch):
    monkeypatch.setattr(ClientProtocol.__init__, "__defaults__", ((1,),))
    with peer(server.address) as client:
        client.send(client.protocol.listing())
        assert client.hung_up()
        assert client.failures[-1].code == "type"
