"""Whatever holds a stream's settings, to be asked for changes, and a model of what it is asked."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import strategies as st

from audiosep_core import Query, Settings
from plugin_bridge import BridgeClient, Delta, StreamingSeparator, WindowSeconds
from plugin_bridge.protocol.messages import Change, QueryMessage, WindowMessage
from plugin_bridge.protocol.wire import Type

RATE, MODE = 32_000, WindowSeconds(hop=0.064, context=0.064, look_ahead=0.032)
FIRST = Settings("drums")
QUERIES = [
    ("drums",),
    ("wind",),
    (Query("speech", gain_db=-6), Query("rain", negative=True)),
    (Query("wind", mute=True),),
]
CHANGES = [
    *(Delta(queries) for queries in QUERIES),
    *(Delta(strength=strength) for strength in (0.5, 1.0, 2.0)),
    *(Delta(remainder_db=level) for level in (-6.0, -np.inf)),
    Delta("rain", strength=1.5, remainder_db=-20.0),
]
#: Over what a server allows; no client knows that beforehand.
TOO_MANY = Delta(["wind"] * 17)
FRAMES = st.integers(1, 5000)
AHEAD = st.none() | st.integers(0, 6000)


class Model:
    """What a stream is asked to do: what holds, and what is on its way."""

    def __init__(self, now):
        self.now, self.pending, self.position = now, [], 0

    def ask(self, delta, ahead=None):
        """A change that will be accepted, from the next frame or one ahead on."""
        self.pending.append((self.position + (ahead or 0), delta))
        self.pending.sort(key=lambda change: change[0])

    def take(self, frames):
        """Stretches of the next frames, each with what changes before it."""
        while frames:
            due = []
            while self.pending and self.pending[0][0] <= self.position:
                due.append(self.pending.pop(0)[1])
                self.now = self.now.changed(due[-1])
            step = min([frames, *(at - self.position for at, _ in self.pending[:1])])
            self.position, frames = self.position + step, frames - step
            yield step, due

    def wish(self):
        return functools.reduce(Settings.changed, (delta for _, delta in self.pending), self.now)

    def restart(self):
        self.position, self.pending = 0, [(0, delta) for _, delta in self.pending]


class Telling:
    """A network whose masks tell the query and follow the sound a little; quick."""

    def __init__(self, config):
        self.config = config

    def prepare(self, rows, frames):
        pass

    def run(self, magnitudes, conditions):
        level = 0.5 + 0.5 * np.tanh(20 * conditions[:, :8].sum(1))
        sound = 1 / (1 + np.abs(magnitudes))
        masks = np.zeros((len(conditions), 3, *magnitudes.shape[1:]), np.float32)
        masks[:, 0] = level[:, None, None] * sound
        masks[:, 1] = 1
        return masks

    def masks(self, magnitude, conditions):
        return self.run(np.repeat(magnitude[None], len(conditions), 0), conditions)


class Holder:
    """A stream under test; what it cannot do is not asked of it."""

    #: Of the engine to compare with, and how much later the stream's output comes.
    mode, outputs, slack_seconds = MODE, "target", 0.0
    #: Frames that go by where a connection is lost.
    lost_frames = 0

    def ask(self, model, delta, ahead):
        self.change(delta, None if ahead is None else model.position + ahead)
        model.ask(delta, ahead)

    def lose(self, changes):
        """Lose the connection, if there is one, and ask for changes meanwhile: those asked for."""
        return []

    def check(self, model):
        """What the stream says of itself, once a block is answered."""

    def close(self):
        pass


class EngineHolder(Holder):
    """The engine, through its setters; it is asked for the next frame only."""

    def __init__(self, world):
        self._stream = StreamingSeparator(
            FIRST, RATE, 1, MODE, world.separator, estimator=world.telling
        )
        self.process, self.reset = self._stream.process, self._stream.reset

    def ask(self, model, delta, ahead):
        match delta.named():
            case {"queries": queries, **others} if not others:
                self._stream.set_queries(queries)
            case {"strength": strength, **others} if not others:
                self._stream.strength = strength
            case {"remainder_db": level, **others} if not others:
                self._stream.remainder_db = level
            case _:
                self._stream.change(delta)
        model.ask(delta)

    def refuse(self):
        for name, value in (("strength", 99.0), ("remainder_db", np.nan)):
            with pytest.raises(ValueError, match=name):
                setattr(self._stream, name, value)
        with pytest.raises(ValueError, match="negative"):
            self._stream.set_queries(Query("wind", negative=True))


class ServerHolder(Holder):
    """A stream of the server, by the messages of the protocol."""

    outputs = "stems"

    def __init__(self, world):
        self._peer = world.peer(world.address)
        window = WindowMessage(MODE.hop, MODE.context, MODE.look_ahead)
        self._peer.open(
            "drums",
            sample_rate=RATE,
            channels=1,
            mode=window,
            max_block=5000,
            outputs="stems",
            contract="render",
        )
        self.close = self._peer.link.close

    def process(self, block):
        self._peer.send(self._peer.protocol.audio(1, block))
        return self._peer.audio().rows

    def change(self, delta, position):
        queries = None
        if delta.queries is not None:
            queries = [QueryMessage(*dataclasses.astuple(query)[:5]) for query in delta.queries]
        level = None if delta.remainder_db is None else max(delta.remainder_db, -200.0)
        self._send(Change(position or 0, queries, delta.strength, level))

    def refuse(self):
        for change in (
            Change(queries=[QueryMessage("wind")] * 2, strength=3.0),
            Change(queries=[QueryMessage(" ")], remainder_db=0.0),
            Change(strength=99.0, queries=[QueryMessage("wind")]),
            Change(queries=[QueryMessage("wind")] * 17),
            Change(mode="fast"),
        ):
            self._send(change)

    def reset(self):
        self._peer.send(self._peer.protocol.plain(Type.RESET, 1))
        while getattr(self._peer.event(), "type", None) != Type.DONE:
            pass

    def _send(self, change):
        self._peer.send(self._peer.protocol.change(1, change))


class PythonHolder(Holder):
    """The Python client, in the contract "render"."""

    lost_frames = 128

    def __init__(self, world):
        self._client = BridgeClient(world.address.path)
        self._stream = self._client.open(FIRST, RATE, 1, MODE, "render")
        self.close = self._client.close
        self.reset = self._stream.reset
        self.change = self._stream.change

    def process(self, block):
        """None where the client tells that a change was refused."""
        try:
            return self._stream.process(block)
        except ValueError as error:
            assert "queries" in str(error)
            return None

    def check(self, model):
        assert self._stream.settings == model.wish()

    def refuse(self):
        before = self._stream.settings
        with pytest.raises(ValueError, match="strength"):
            self._stream.strength = 99.0
        assert self._stream.settings == before
        self._stream.change(TOO_MANY)

    def lose(self, changes):
        self._stream._link.abort()
        before = self._stream.reconnects
        # The first call may tell of a change that was refused.
        for _ in range(2):
            self.process(np.zeros((1, self.lost_frames // 2), np.float32))
        assert self._stream.reconnects == before + 1
        for delta in changes:
            self._stream.change(delta)
            self._stream.change(TOO_MANY)
        return changes


class CHolder(Holder):
    """The C client, in the contract "render"; a block carries what was wished for before it."""

    BAD = len(QUERIES)
    #: The least slack that it asks for, so that the contract can change.
    mode, slack_seconds = "track", 0.01
    lost_frames = 20_000

    def __init__(self, world):
        self._world = world
        self._client = world.c_client(
            world.address, ["drums"], RATE, 1, contract="render", mode="track", slack=0
        )
        for slot, queries in enumerate(QUERIES):
            listed = [dataclasses.astuple(query)[:5] for query in Settings(queries).queries]
            assert self._client.set_slot(slot, listed) == 0
        self._client.set_slot(self.BAD, ["   "])
        self._unsaid = False
        self.close = self._client.close
        self.reset = self._client.reset

    def process(self, block):
        self._unsaid = False
        return self._client.process(block)

    def ask(self, model, delta, ahead):
        """Only what there are calls for, and for the next block."""
        if delta.remainder_db is not None:
            return
        if delta.strength is not None:
            self._client.set_strength(delta.strength)
        else:
            self._unsaid = True
            known = [Delta(queries) for queries in QUERIES]
            self._client.select(known.index(delta))
        model.ask(delta)

    def refuse(self):
        """A slot that the server refuses, unless another is selected before the next block.

        It would take the place of one that was selected since the last.
        """
        if not self._unsaid:
            self._client.select(self.BAD)

    def lose(self, changes):
        # What it said last is answered: of a slot that is not it knows nothing on another
        # connection once it is asked for the next.
        self.process(np.zeros((1, self.lost_frames), np.float32))
        before = self._client.stats.connections
        self._world.hang_up()
        self._world.wait_until(lambda: self._client.stats.connections > before)
        return []


class World:
    """What the holders share: a server in this process, with a network that tells."""

    def __init__(self, server, address, peer, c_client, wait_until):
        self.address, self.peer, self.c_client, self.wait_until = (
            address,
            peer,
            c_client,
            wait_until,
        )
        self.separator = server._models.own.separator
        self.telling = Telling(self.separator.bundle.config)
        self.separator.estimator.run = self.telling.run
        self._server = server

    def hang_up(self):
        for connection in list(self._server._connections.values()):
            connection._hang_up()
