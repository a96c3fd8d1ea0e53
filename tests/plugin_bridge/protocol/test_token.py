"""Both sides of a guarded connection prove that they know the token; neither says it."""

import pytest

from plugin_bridge.protocol import messages
from plugin_bridge.protocol.client_side import ClientProtocol
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Challenge, Hello, Proof, Welcome
from plugin_bridge.protocol.proof import proof
from plugin_bridge.protocol.server_side import ServerProtocol
from plugin_bridge.protocol.wire import VERSIONS, Frame, ProtocolError, Type

TOKEN = "5e" * 32
WELCOME = Welcome(0, "server", "mini", {})
OWN = "c" * 64


def guarded(token=TOKEN):
    return ServerProtocol(Limits(), WELCOME, token)


def sent(message, sequence=0):
    kind = messages.TYPES[type(message)]
    return Frame(kind, 0, sequence, messages.encode(message)).encode()


def refused(receiver, data):
    with pytest.raises(ProtocolError) as caught:
        list(receiver.receive(data))
    return caught.value.code


def test_nobody_says_the_token():
    server, client = guarded(), ClientProtocol()
    said = [client.hello("test", TOKEN)]
    (reply,) = server.receive(said[-1])
    said.append(reply.data)
    assert not server.welcomed
    (challenge,) = client.receive(reply.data)
    assert challenge.type == Type.CHALLENGE
    said.append(client.prove())
    (reply,) = server.receive(said[-1])
    said.append(reply.data)
    (welcome,) = client.receive(reply.data)
    assert welcome.message.version == VERSIONS[-1] == client.version
    assert server.welcomed and server.client == "test"
    assert TOKEN.encode() not in b"".join(said)
    assert len({bytes(part) for part in said}) == 4


def test_every_conversation_has_other_proofs():
    answers = set()
    for _ in range(3):
        server, client = guarded(), ClientProtocol()
        (reply,) = server.receive(client.hello("test", TOKEN))
        list(client.receive(reply.data))
        answers |= {reply.data, client.prove()}
    assert len(answers) == 6


@pytest.mark.parametrize("token", ["", "00" * 32])
def test_a_server_that_does_not_know_the_token_hears_nothing_else(token):
    server, client = guarded(token), ClientProtocol()
    hello = client.hello("test", TOKEN)
    (reply,) = server.receive(hello)
    assert refused(client, reply.data) == "token"


def test_a_server_that_sends_the_clients_proof_back_is_found_out():
    # It has the client prove something for it, and takes that for its own.
    client = ClientProtocol()
    client.hello("test", TOKEN)
    mirror = proof(TOKEN, "client", client._challenge, OWN)
    assert refused(client, sent(Challenge(OWN, mirror))) == "token"


def test_a_server_that_challenges_twice_or_unasked_is_none():
    server, client = guarded(), ClientProtocol()
    (reply,) = server.receive(client.hello("test", TOKEN))
    list(client.receive(reply.data))
    assert refused(client, reply.data) == "token"
    unasked = ClientProtocol()
    unasked.hello("test")
    assert refused(unasked, sent(Challenge(OWN, proof("", "server", "", OWN)))) == "token"


@pytest.mark.parametrize("given", ["", "0" * 64, "é"])
def test_a_client_that_does_not_know_the_token_is_refused(given):
    server = guarded()
    (_reply,) = server.receive(sent(Hello([1, 2], challenge=OWN)))
    assert refused(server, sent(Proof(given), 1)) == "token"
    assert not server.welcomed


def test_a_proof_of_the_servers_own_is_none():
    server = guarded()
    (reply,) = server.receive(sent(Hello([1, 2], challenge=OWN)))
    (answer,) = client_that_asked(OWN).receive(reply.data)
    assert refused(server, sent(Proof(answer.message.proof), 1)) == "token"


def client_that_asked(challenge):
    client = ClientProtocol()
    client.hello("test", TOKEN)
    client._challenge = challenge
    return client


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([sent(Hello([1], challenge="c" * 31))], "token"),
        ([sent(Hello([1], challenge="c" * 129))], "token"),
        ([sent(Hello([1], challenge=OWN)), sent(Hello([1], token=TOKEN), 1)], "hello"),
        ([sent(Hello([1], challenge=OWN)), Frame(Type.PING, 0, 1).encode()], "hello"),
        ([sent(Hello([1], challenge=OWN)), sent(Proof(""), 2)], "hello"),
        ([sent(Proof(""))], "hello"),
    ],
)
def test_what_comes_instead_of_a_proof_ends_the_connection(frames, code):
    server = guarded()
    for frame in frames[:-1]:
        assert len(list(server.receive(frame))) == 1
    assert refused(server, frames[-1]) == code


def test_a_client_of_version_1_may_still_say_it():
    server = guarded()
    (reply,) = server.receive(sent(Hello([1], token=TOKEN)))
    assert reply.data[5] == Type.WELCOME
    assert server.welcomed


def test_where_no_token_is_asked_for_a_challenge_is_passed_over():
    server = guarded("")
    (reply,) = server.receive(sent(Hello([1, 2], challenge=OWN)))
    assert reply.data[5] == Type.WELCOME
