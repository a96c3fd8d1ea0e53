"""Changes in any order, refused ones among them, on every holder of a stream's settings.

A model of some twenty lines says what a stream is asked to do at every frame. A plain engine that
is given these settings, whole, at these frames must then give the samples of the engine with its
setters, of a stream of the server, of the Python client, and of the C client.

The suite must notice when somebody

* stores the server's settings before they are accepted (here, ``ChangingStream._apply``),
* keeps a refused change in what the client asks for (here, ``Asked.refuse``),
* stops counting late blocks (``test_late_blocks.py``),
* cuts the cross-fade of 10 ms to a sample (``signal/test_fades.py``),
* shifts what lies above the model's band by a frame (``signal/test_top_band.py``).

Each of the five was made by hand, and failed a test at the place named.
"""

import numpy as np
import pytest
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from audiosep_core import Query
from plugin_bridge import Delta, StreamingSeparator
from plugin_bridge.address import UnixAddress
from plugin_bridge.live.modes import mode_windows
from plugin_bridge.server.server import running
from tests.plugin_bridge.server.holders import (
    AHEAD,
    CHANGES,
    FIRST,
    FRAMES,
    RATE,
    CHolder,
    EngineHolder,
    Model,
    PythonHolder,
    ServerHolder,
    World,
)


@pytest.fixture(scope="module")
def world(bridge_server, windowed, peer, c_client, wait_until, tmp_path_factory):
    socket = UnixAddress(tmp_path_factory.mktemp("world") / "s")
    server = bridge_server(socket, windowed.bundle.folder)
    with running(server) as address:
        yield World(server, address, peer, c_client, wait_until)


def machine(holder_kind, world, audio):
    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.holder = holder_kind(world)
            self.model = Model(FIRST)
            self.engine = StreamingSeparator(
                FIRST,
                RATE,
                1,
                mode_windows(holder_kind.mode, world.separator.bundle, holder_kind.slack_seconds),
                world.separator,
                outputs=holder_kind.outputs,
                estimator=world.telling,
            )
            self.at = 0
            self.begin()

        def begin(self):
            silence = self.engine.process(audio[:, :0])
            late = round(holder_kind.slack_seconds * RATE)
            self.waiting = np.zeros((*silence.shape[:-1], late), np.float32)

        @rule(frames=FRAMES)
        def feed(self, frames):
            block = audio[:, self.at : self.at + frames]
            self.at = (self.at + frames) % (audio.shape[1] - 5000)
            out, parts, begin = self.holder.process(block), [], 0
            for count, due in self.model.take(frames):
                for delta in due:
                    self.engine.change(delta)
                parts.append(self.engine.process(block[:, begin : begin + count]))
                begin += count
            expected = np.concatenate([self.waiting, *parts], -1)
            self.waiting = expected[..., frames:]
            if out is not None:
                np.testing.assert_array_equal(out, expected[..., :frames])
            assert self.engine.settings == self.model.now
            self.holder.check(self.model)

        @rule(delta=st.sampled_from(CHANGES), ahead=AHEAD)
        def change(self, delta, ahead):
            self.holder.ask(self.model, delta, ahead)

        @rule()
        def refuse(self):
            self.holder.refuse()

        @rule(delta=st.sampled_from(CHANGES), between=FRAMES)
        def refuse_and_go_on(self, delta, between):
            """What a refused change leaves behind is heard with the next one, at the latest."""
            self.holder.refuse()
            self.feed(between)
            self.holder.ask(self.model, delta, None)
            for _ in range(3):
                self.feed(5000)

        @rule()
        def reset(self):
            self.holder.reset()
            self.engine.reset()
            self.begin()
            self.model.restart()

        @rule(changes=st.lists(st.sampled_from(CHANGES), max_size=2))
        def reconnect(self, changes):
            asked = self.holder.lose(changes)
            for _, due in self.model.take(self.holder.lost_frames):
                for delta in due:
                    self.engine.change(delta)
            for delta in asked:
                self.model.ask(delta)
            self.reset()

        def teardown(self):
            self.holder.close()

    return Machine


@pytest.mark.parametrize("holder_kind", [EngineHolder, ServerHolder, PythonHolder, CHolder])
def test_whatever_happens_the_settings_are_those_that_were_accepted(world, music, holder_kind):
    audio = music(1, 60_000)
    run_state_machine_as_test(
        lambda: machine(holder_kind, world, audio)(),
        settings=effort(
            max_examples=20, stateful_step_count=15, deadline=None, derandomize=True, database=None
        ),
    )


@pytest.fixture
def driven(world, music):
    """The machine of the Python client, to be driven by hand."""
    driven = machine(PythonHolder, world, music(1, 60_000))()
    yield driven
    driven.teardown()


DRUMS, WIND = (Delta((Query(text),)) for text in ("drums", "wind"))


def test_what_a_reset_finds_waiting_takes_effect_in_the_order_of_its_positions(driven):
    driven.change(DRUMS, ahead=2)
    driven.change(WIND, ahead=1)
    driven.reset()
    driven.feed(1)
    driven.feed(5000)


def test_of_two_changes_at_one_frame_the_one_asked_last_holds_also_if_it_comes_late(driven):
    driven.change(DRUMS, ahead=1)
    driven.feed(1)
    driven.change(WIND, ahead=None)
    driven.feed(5000)
    driven.feed(5000)


def test_what_was_said_before_a_reset_holds_from_the_start_where_a_render_goes_on(driven):
    driven.feed(128)
    driven.change(Delta(strength=2.0), ahead=None)
    driven.reset()
    driven.feed(1)
    driven.change(Delta(strength=0.5), ahead=None)
    driven.feed(5000)
    driven.reconnect([])
    driven.feed(5000)
    driven.feed(5000)


def test_changes_of_one_frame_of_the_stft_end_as_the_last_position_has_it(driven):
    driven.feed(1)
    driven.change(WIND, ahead=None)
    driven.feed(5000)
    driven.change(DRUMS, ahead=300)
    driven.change(Delta("rain"), ahead=2)
    driven.feed(1)
    driven.change(Delta("rain"), ahead=None)
    driven.feed(5000)
    driven.feed(5000)
