"""The LV2 in jalv, under a JACK server that has no sound card."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from plugin_bridge.plugin import bundles

pytestmark = pytest.mark.slow
jack = pytest.importorskip("jack", exc_type=ImportError)
RATE = 48_000
#: As the plug-in tells it in the mode "mix".
LATENCY = 31_519


class Tape:
    """Plays a recording to a host and records what comes back, by the transport's clock."""

    def __init__(self, server, audio):
        self.audio = np.pad(audio, ((0, 0), (0, LATENCY + RATE)))
        self.recorded = np.zeros_like(self.audio)
        self._clients = [jack.Client(name, servername=server) for name in ("deck", "recorder")]
        deck, recorder = self._clients
        self.outputs = [deck.outports.register(f"out_{side}") for side in "lr"]
        self.inputs = [recorder.inports.register(f"in_{side}") for side in "lr"]
        deck.set_process_callback(self._play)
        recorder.set_process_callback(self._record)
        for client in self._clients:
            client.activate()

    def _window(self, client, frames):
        # The frame of this cycle; the one of this moment is an estimate.
        state, position = client.transport_query_struct()
        start = position.frame if state == jack.ROLLING else self.audio.shape[1]
        return slice(start, start + frames)

    def _play(self, frames):
        part = self.audio[:, self._window(self._clients[0], frames)]
        for port, channel in zip(self.outputs, part, strict=True):
            port.get_array()[:] = np.pad(channel, (0, frames - len(channel)))

    def _record(self, frames):
        part = self.recorded[:, self._window(self._clients[1], frames)]
        for port, channel in zip(self.inputs, part, strict=True):
            channel[:] = port.get_array()[: len(channel)]

    def run(self, wait_until):
        """Through the host as fast as it can."""
        deck = self._clients[0]
        deck.set_freewheel(True)
        deck.transport_start()
        wait_until(lambda: deck.transport_frame >= self.audio.shape[1])
        deck.transport_stop()
        deck.set_freewheel(False)
        return self.recorded

    def connect(self, host):
        deck = self._clients[0]
        for port, side in zip(self.outputs, ("left", "right"), strict=True):
            deck.connect(port, f"{host}:lv2_mixture_{side}")
        for port, side in zip(self.inputs, ("left", "right"), strict=True):
            deck.connect(f"{host}:lv2_target_{side}", port)

    def close(self):
        for client in self._clients:
            client.deactivate()
            client.close()


@pytest.fixture
def sound_server(tmp_path, wait_until):
    """A JACK server of the test's own: its name."""
    if shutil.which("jackd") is None or shutil.which("jalv") is None:
        pytest.skip("JACK and jalv are not here (Debian: jackd2, jalv)")
    name = f"audiosep-{os.getpid()}"
    command = ["jackd", "--no-realtime", "-n", name, "-d", "dummy", "-r", str(RATE), "-p", "1024"]
    with (tmp_path / "jack.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)

    def ready():
        try:
            jack.Client("probe", no_start_server=True, servername=name).close()
        except jack.JackError:
            return False
        return True

    wait_until(ready)
    yield name
    server.terminate()
    server.wait(60)


@pytest.fixture
def host(built, home, sound_server, address, monkeypatch, wait_until, tmp_path):
    """Starts jalv with a prompt in its state: its JACK name."""
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))
    monkeypatch.setenv("JACK_DEFAULT_SERVER", sound_server)
    bundles._replace(built / "audiosep.lv2", bundles.BUNDLES[2].location())
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.ttl").write_text(
        """@prefix lv2: <http://lv2plug.in/ns/lv2core#> .
        @prefix pset: <http://lv2plug.in/ns/ext/presets#> .
        @prefix state: <http://lv2plug.in/ns/ext/state#> .
        <> a pset:Preset ; lv2:appliesTo <urn:audiosep:plugin> ;
           state:state [ <urn:audiosep:plugin#prompt1> "Drum kit" ] ."""
    )
    command = [
        "stdbuf",
        "-oL",
        "jalv",
        "-x",
        "-n",
        "host",
        "-c",
        "offline=1",
        "-l",
        state,
        "urn:audiosep:plugin",
    ]
    with (tmp_path / "jalv.log").open("wb") as log:
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def connected():
        assert running.poll() is None
        running.stdin.write(b"monitors\n")
        running.stdin.flush()
        return "connected = 1" in (tmp_path / "jalv.log").read_text()

    try:
        wait_until(connected)
        # This jalv does not tell its plug-ins that JACK runs as fast as it can.
        running.stdin.write(b"set offline 1\ncontrols\n")
        running.stdin.flush()
        wait_until(lambda: "offline = 1" in (tmp_path / "jalv.log").read_text())
        yield "host"
        assert running.poll() is None
    finally:
        running.terminate()
        running.wait(60)
        running.stdin.close()


def test_jalv_gives_what_the_engine_gives(sound_server, host, separated, music, wait_until):
    audio = music(2, 2 * RATE)
    tape = Tape(sound_server, audio)
    try:
        tape.connect(host)
        out = tape.run(wait_until)[:, LATENCY : LATENCY + 2 * RATE]
    finally:
        tape.close()
    np.testing.assert_allclose(out, separated(audio), atol=1e-6)
