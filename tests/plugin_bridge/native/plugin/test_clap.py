"""The CLAP through its own interface: bounces, with or without the host's word for it; leaks."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.plugin_bridge.native.plugin.clap_host import gesture

pytestmark = pytest.mark.slow
RATE, INSTANCES = 48_000, 20


@pytest.fixture(autouse=True)
def reach(monkeypatch, address):
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))


def test_an_export_waits_for_the_server_from_its_first_block(clap, separated, music):
    """Nothing is connected yet when the first block comes."""
    audio, host = music(2, 2 * RATE), clap()
    host.tell(prompt1="Drum kit")
    assert host.render(offline=True)
    host.start()
    assert host.value("Connected") == 0
    np.testing.assert_allclose(host.play(audio), separated(audio), atol=1e-6)
    assert float(host.texts["failed"]) == 0


def test_a_fast_export_of_which_nobody_tells_is_not_dry(clap, separated, music, wait_until):
    """Its haste gives it away."""
    audio, host = music(2, 2 * RATE), clap()
    host.tell(prompt1="Drum kit")
    host.start()
    wait_until(lambda: host.value("Connected") == 1)
    np.testing.assert_allclose(host.play(audio), separated(audio), atol=1e-6)


def test_a_bounce_after_another_and_live_in_between(clap, separated, music, wait_until):
    audio, host = music(2, RATE), clap()
    host.tell(prompt1="Drum kit")
    host.render(offline=True)
    host.start()
    expected = separated(audio)
    np.testing.assert_allclose(host.play(audio), expected, atol=1e-6)
    host.stop()
    host.render(offline=False)
    host.start()
    host.process(audio[:, :512], 0, playing=False)
    host.stop()
    host.render(offline=True)
    host.start()
    np.testing.assert_allclose(host.play(audio), expected, atol=1e-6)


def test_a_host_need_not_take_news_of_the_latency(clap):
    host = clap(hears_latency=False)
    before = host.latency
    host.tell(latency=f"mix {RATE} {before + 512}")
    assert host.latency == before + 512


def test_a_gesture_is_no_midi(clap, capfd):
    host = clap()
    host.start()
    host.process(np.zeros((2, 512), np.float32), 0, [gesture(3, host.names["Mix"])])
    assert "assertion" not in capfd.readouterr().err
    assert host.value("Prompt") == 1


def test_twenty_instances_leave_nothing(clap, held):
    def use():
        hosts = [clap() for _ in range(INSTANCES)]
        for host in hosts:
            host.start()
            host.process(np.zeros((2, 512), np.float32), 0)
        # One that connects for each, and one that looks after it.
        assert len(list(Path("/proc/self/task").iterdir())) >= 2 * INSTANCES
        for host in hosts:
            host.close()

    use()
    before = threading.active_count()
    with held(os.getpid()):
        use()
    assert threading.active_count() == before
