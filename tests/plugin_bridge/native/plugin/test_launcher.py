"""The plug-in where no server runs: it starts one, for all instances, which ends when idle."""

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import failed_seconds, load_vst3

pytestmark = pytest.mark.slow
pedalboard = pytest.importorskip("pedalboard")
RATE = 48_000


@pytest.fixture
def started(home, monkeypatch):
    """Where each server that the plug-in starts writes its process, and its address."""
    socket, log, program = home / "bridge.sock", home / "started", home / "audiosep"
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(socket))
    monkeypatch.setenv("AUDIOSEP_PROGRAM", str(program))
    # Of an option that is given twice the second counts.
    command = "from audiosep_core.commands import main; main()"
    options = "--device cpu --threads 1 --idle-exit 2"
    program.write_text(
        f"#!/bin/sh\necho $$ $@ >> {log}\nexec {sys.executable} -c '{command}' \"$@\" {options}\n"
    )
    program.chmod(0o755)
    return log, socket


def test_it_starts_one_server_that_ends_when_idle(built, started, separated, music, wait_until):
    log, socket = started
    audio = music(2, 2 * RATE)
    plugins = [load_vst3("Drum kit", path=built / "audiosep.vst3") for _ in range(3)]
    expected = separated(audio)
    for plugin in plugins:
        # The first bounce waits for the server.
        np.testing.assert_allclose(plugin(audio, RATE), expected, atol=1e-6)
        assert failed_seconds(plugin) == 0
    (line,) = log.read_text().splitlines()
    pid, *command = line.split()
    assert command == ["serve", "--idle-exit", "600", "--socket", str(socket)]
    status = Path("/proc", pid, "status").read_text()
    assert f"PPid:\t{os.getpid()}\n" not in status
    del plugin, plugins
    gc.collect()
    wait_until(lambda: not Path("/proc", pid).exists())
    assert not socket.exists()


def test_a_server_that_died_is_started_again(built, started, separated, music, wait_until):
    log, _ = started
    audio = music(2, 2 * RATE)
    plugin = load_vst3("Drum kit", path=built / "audiosep.vst3")
    plugin(audio, RATE)
    pid = int(log.read_text().split()[0])
    os.kill(pid, 9)
    wait_until(lambda: not Path("/proc", str(pid)).exists())
    np.testing.assert_allclose(plugin(audio, RATE), separated(audio), atol=1e-6)
    assert failed_seconds(plugin) == 0
    assert len(log.read_text().splitlines()) == 2
