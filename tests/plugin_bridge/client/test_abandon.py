"""A render that waits for its server can be left from another thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import BridgeClient

RATE = 48_000


@pytest.fixture
def audio(music):
    return music(2, 2 * RATE)


@pytest.fixture
def deaf(fake):
    """A server that opens streams and never answers, and the event of its having heard a block."""
    heard = threading.Event()

    def listen(server, link, protocol):
        for _ in server.blocks(link, protocol):
            heard.set()

    return fake(listen), heard


@pytest.fixture
def aside():
    """Runs what waits on another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


def test_a_call_that_waits_for_an_answer_ends(deaf, aside, audio):
    server, heard = deaf
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 2, contract="render")
        waiting = aside(stream.process, audio)
        heard.wait()
        stream.abandon()
        with pytest.raises(BridgeError, match="abandoned"):
            waiting.result()
        # Nobody goes on by mistake.
        for call in (lambda: stream.process(audio), stream.flush):
            with pytest.raises(BridgeError, match="abandoned"):
                call()


@pytest.mark.parametrize("missing", ["mixture", "silence"])
def test_what_was_chosen_is_played_instead(deaf, aside, audio, missing, capfd):
    server, heard = deaf
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 2, contract="render", missing=missing)
        waiting = aside(stream.process, audio)
        heard.wait()
        stream.abandon()
        out = waiting.result()
        late = stream.latency_samples
        assert stream.failed_frames == out.shape[1] - late
    expected = audio if missing == "mixture" else np.zeros_like(audio)
    np.testing.assert_array_equal(out[:, late:], expected[:, :-late])
    assert "abandoned" in capfd.readouterr().err


def test_a_call_that_waits_for_another_server_ends(start, aside, audio, wait_until):
    server = start()
    with BridgeClient(server.address.path, reconnect=1e6) as client:
        stream = client.open("drums", RATE, 2, "track", "render")
        expected = stream.process(audio)
        server.kill()
        waiting = aside(stream.process, audio)
        wait_until(lambda: not stream.connected)
        stream.abandon()
        with pytest.raises(BridgeError, match="abandoned"):
            waiting.result()
        server.start()
        stream.reset()
        np.testing.assert_array_equal(stream.process(audio), expected)


def test_in_real_time_nothing_is_abandoned(client, audio):
    stream = client.open("drums", RATE, 2)
    stream.abandon()
    stream.process(audio[:, :512])
    assert stream.connected


def test_the_c_client(c_client, start, aside, audio, capfd):
    server = start()
    options = {"contract": "render", "render_timeout_ms": 2**31}
    with c_client(server.address, ["drums"], RATE, 2, **options) as client:
        expected = client.process(audio)
        server.pause()
        waiting = aside(client.process, audio)
        client.abandon()
        waiting.result()
        assert client.stats.failed
        # It stays so: nobody waits for the rest of what was given up.
        client.process(audio)
        server.resume()
        failed = client.stats.failed
        client.reset()
        np.testing.assert_array_equal(client.process(audio), expected)
        assert client.stats.failed == failed
    assert "it was abandoned" in capfd.readouterr().err
