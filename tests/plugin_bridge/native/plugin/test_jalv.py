"""The LV2 in jalv, under a JACK server that has no sound card."""

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
    """Plays a recording to a host and records what comes back, by the transport's clock.

    MIDI is a frame to the bytes of its message.
    """

    def __init__(self, server, audio, midi=None):
        self.audio = np.pad(audio, ((0, 0), (0, LATENCY + RATE)))
        self.midi = midi or {}
        self.recorded = np.zeros_like(self.audio)
        self._clients = [jack.Client(name, servername=server) for name in ("deck", "recorder")]
        deck, recorder = self._clients
        self.outputs = [deck.outports.register(f"out_{side}") for side in "lr"]
        self.events = deck.midi_outports.register("events")
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
        window = self._window(self._clients[0], frames)
        self.events.clear_buffer()
        for frame in sorted(self.midi):
            if window.start <= frame < window.stop:
                self.events.write_midi_event(frame - window.start, self.midi[frame])
        part = self.audio[:, window]
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
        deck.connect(self.events, f"{host}:midi")

    def close(self):
        for client in self._clients:
            client.deactivate()
            client.close()


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
           state:state [ <urn:audiosep:plugin#prompt1> "Drum kit" ;
                         <urn:audiosep:plugin#prompt3> "Speech" ] ."""
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


@pytest.fixture
def play(sound_server, host, wait_until):
    """What comes out of the host for a mixture, in time with it."""

    def run(audio, midi=None):
        tape = Tape(sound_server, audio, midi)
        try:
            tape.connect(host)
            return tape.run(wait_until)[:, LATENCY : LATENCY + audio.shape[1]]
        finally:
            tape.close()

    return run


def test_jalv_gives_what_the_engine_gives(play, separated, music):
    audio = music(2, 2 * RATE)
    np.testing.assert_allclose(play(audio), separated(audio), atol=1e-6)


def test_a_program_change_chooses_a_prompt_to_the_frame(play, separated, music):
    audio = music(2, 2 * RATE)
    at, back = 20_123, 50_001
    out = play(audio, {at: b"\xc0\x02", back: b"\xcf\x00"})
    expected = separated(audio, changes=[(at, "Speech"), (back, "Drum kit")])
    np.testing.assert_allclose(out, expected, atol=1e-6)
