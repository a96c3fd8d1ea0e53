"""The plug-in in Ardour, without a display: sessions are made, exported, opened again."""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plugin_bridge.plugin import bundles

pytestmark = pytest.mark.slow
pedalboard = pytest.importorskip("pedalboard")
RATE, BLOCK = 48_000, 1024
QUERY = "Drum kit"
HERE = Path(__file__).parent
LIBRARIES = Path("/usr/lib/ardour7")
#: Of Ardour's time, in a frame.
TICKS = 282_240_000 // RATE
#: Ardour's numbers of the plug-in's parameters.
NUMBERS = {"prompt": 1, "strength": 2, "mix": 3, "output": 4, "mute": 5, "residual_bus": 6}
#: Ardour 7 may wait for itself before the first frame of an export that follows the opening of a
#: session at once: it holds the lock of its process thread while it waits for its butler, who wants
#: that lock to adjust the buffers of the session that was opened. No plug-in has part in it.
TRIES = 3
#: In which a level moves to its new value.
GLIDE = RATE * 5 // 1000


class Session:
    """A session of one track with the plug-in on it.

    Args:
        home: Where the bundles are installed.
        kind: Of the bundle.
        automation: Name of a parameter to (frame, value); frames are multiples of 25.
        audio: What is on the track: (2, frames), 48 kHz.
    """

    def __init__(self, home, kind, audio, automation):
        self.folder = home / kind
        self._environment = os.environ | {
            "FOLDER": str(home),
            "NAME": kind,
            "KIND": kind,
            "PRESET": QUERY,
            "AUTOMATION": ";".join(
                f"{NUMBERS[name]} {frame} {value}"
                for name, points in automation.items()
                for frame, value in points
            ),
        }
        self.run("ardour7-lua", HERE / "ardour" / "create.lua")
        self._place(audio)

    def run(self, *command, seconds=120):
        done = subprocess.run(
            list(map(str, command)),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def file(self):
        return self.folder / f"{self.folder.name}.ardour"

    def _place(self, audio):
        """Ardour imports files only where it has an editor: the track's region is written here."""
        name, end = self.folder.name, f"a{audio.shape[1] * TICKS}"
        path = self.folder / "interchange" / name / "audiofiles" / "mix.wav"
        soundfile.write(path, audio.T, RATE, subtype="FLOAT")
        tree = ET.parse(self.file)
        root = tree.getroot()
        source = {"name": path.name, "type": "audio", "flags": "", "origin": path.name, "gain": "1"}
        region = {
            "name": "mix", "id": "9010", "type": "audio", "channels": "2", "muted": "0",
            "opaque": "1", "start": "a0", "length": f"{end}@a0", "sync-position": "a0",
            "layering-index": "0", "stretch": "1", "shift": "1", "first-edit": "nothing",
            "fade-in-active": "0", "fade-out-active": "0", "scale-amplitude": "1",
        }  # fmt: skip
        for channel in "01":
            number = f"900{channel}"
            region |= {f"source-{channel}": number, f"master-source-{channel}": number}
            ET.SubElement(root.find("Sources"), "Source", source, id=number, channel=channel)
        ET.SubElement(root.find("Playlists/Playlist[@name='mix']"), "Region", region)
        span = {"id": "9020", "name": "session", "start": "a0", "end": end}
        ET.SubElement(root.find("Locations"), "Location", span, flags="IsSessionRange", locked="0")
        # Left stays left.
        for shell in root.findall("Routes/Route[@name='mix']//PannerShell"):
            shell.set("bypassed", "1")
        tree.write(self.file)

    def export(self):
        """What Ardour writes: (2, frames)."""
        path = self.folder.with_suffix(".wav")
        name = self.folder.name
        for _ in range(TRIES):
            path.unlink(missing_ok=True)
            try:
                self.run("ardour7-export", "-b", "float", "-o", path, self.folder, name, seconds=60)
                break
            except subprocess.TimeoutExpired:
                assert not path.exists() or path.stat().st_size < 1000
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == RATE
        return audio.T

    def reopen(self):
        """Open it, save it as it is, and close it."""
        self.run("ardour7-lua", HERE / "ardour" / "reopen.lua")


@pytest.fixture
def session(built, home, address, monkeypatch):
    """Makes sessions in a home where the plug-in is installed, with a preset of the query."""
    if shutil.which("ardour7-lua") is None or not LIBRARIES.is_dir():
        pytest.skip("Ardour is not here (Debian: ardour)")
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))
    for bundle in (bundles.BUNDLES[0], bundles.BUNDLES[2]):
        bundles._replace(built / bundle.name, bundle.location())
    vst3 = bundles.BUNDLES[0].location()
    scan = [LIBRARIES / "ardour-vst3-scanner", "-f", vst3]
    libraries = {"LD_LIBRARY_PATH": str(LIBRARIES)}
    subprocess.run(scan, env=os.environ | libraries, capture_output=True, check=True)
    _write_presets(vst3, home)
    return lambda audio, kind="VST3", **automation: Session(home, kind, audio, automation)


def _write_presets(vst3, home):
    from plugin_bridge import load_vst3
    from plugin_bridge.plugin.state import with_texts

    folder = home / ".vst3" / "presets" / "AudioSep for the DAW" / "AudioSep"
    folder.mkdir(parents=True)
    saved = load_vst3(QUERY, path=vst3)
    saved.raw_state = with_texts(saved.raw_state, {"prompt3": "Speech"})
    (folder / f"{QUERY}.vstpreset").write_bytes(saved.preset_data)
    bundle = home / ".lv2" / "presets.lv2"
    bundle.mkdir(parents=True)
    prefixes = """
        @prefix lv2: <http://lv2plug.in/ns/lv2core#> .
        @prefix pset: <http://lv2plug.in/ns/ext/presets#> .
        @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
        @prefix state: <http://lv2plug.in/ns/ext/state#> .
        <urn:preset> a pset:Preset ; lv2:appliesTo <urn:audiosep:plugin> ;"""
    manifest = f"{prefixes} rdfs:seeAlso <preset.ttl> ."
    preset = f"""{prefixes} rdfs:label "{QUERY}" ;
        state:state [ <urn:audiosep:plugin#prompt1> "{QUERY}" ;
                      <urn:audiosep:plugin#prompt3> "Speech" ] ."""
    (bundle / "manifest.ttl").write_text(manifest)
    (bundle / "preset.ttl").write_text(preset)


KINDS = pytest.mark.parametrize("kind", ["VST3", "LV2"])


@KINDS
def test_an_export_is_what_the_engine_gives(session, separated, music, kind):
    audio = music(2, 2 * RATE)
    made = session(audio, kind)
    expected = separated(audio)
    np.testing.assert_allclose(made.export(), expected, atol=1e-6)
    made.reopen()
    np.testing.assert_allclose(made.export(), expected, atol=1e-6)


def test_mute_is_automated_to_the_sample(session, separated, music):
    audio = music(2, RATE)
    muted, heard = 10_000, 30_025
    made = session(audio, mute=[(0, 0), (muted, 1), (heard, 0)])
    level = np.ones(RATE, np.float32)
    level[muted:heard] = np.maximum(1 - np.arange(1, heard - muted + 1) / GLIDE, 0)
    level[heard:] = np.minimum(np.arange(1, RATE - heard + 1) / GLIDE, 1)
    np.testing.assert_allclose(made.export(), level * separated(audio), atol=2e-6)


@KINDS
def test_output_and_mix_are_automated(session, separated, music, kind):
    """An LV2 port has one value a block, the VST3's values have their frames."""
    audio = music(2, RATE)
    turned = 20_000
    made = session(audio, kind, mix=[(0, 75)], output=[(0, 0), (turned - 25, 0), (turned, 1)])
    out, target = made.export(), separated(audio)
    rest = audio - target
    before, behind = slice(0, turned - 25), slice(turned + BLOCK + GLIDE, None)
    mixed = target + 0.25 * rest, rest + 0.25 * target
    np.testing.assert_allclose(out[:, before], mixed[0][:, before], atol=2e-6)
    np.testing.assert_allclose(out[:, behind], mixed[1][:, behind], atol=2e-6)


@KINDS
def test_the_residual_is_heard_on_outputs_of_its_own(session, music, kind):
    """The session leads both buses to the master, where they sum to the mixture."""
    audio = music(2, RATE)
    made = session(audio, kind, residual_bus=[(0, 1)])
    np.testing.assert_allclose(made.export(), audio, atol=1e-6)


@KINDS
def test_strength_is_heard_a_latency_behind_its_automation(session, separated, music, kind):
    """Ardour tells values by the clock of what it plays; masks follow that of what comes in."""
    audio = music(2, 2 * RATE)
    turned, late = 20_000, 31_519
    made = session(audio, kind, strength=[(0, 1), (turned, 1), (turned + 25, 3)])
    out, softer, harder = made.export(), separated(audio), separated(audio, strength=3)
    before, behind = slice(0, turned + late - BLOCK), slice(turned + late + 2 * BLOCK, None)
    np.testing.assert_allclose(out[:, before], softer[:, before], atol=2e-6)
    np.testing.assert_allclose(out[:, behind], harder[:, behind], atol=2e-6)


@KINDS
def test_the_prompt_is_heard_a_latency_behind_its_automation(session, separated, music, kind):
    """As strength is: masks follow the clock of what comes in. In LV2 a block begins with it."""
    audio = music(2, 2 * RATE)
    turned, late = 20_000, 31_519
    made = session(audio, kind, prompt=[(0, 1), (turned - 25, 1), (turned, 3)])
    out, due = made.export(), turned + late
    heard = int(np.flatnonzero(np.abs(out - separated(audio)).max(0) > 2e-6)[0])
    assert heard == due if kind == "VST3" else due <= heard < due + BLOCK
    expected = separated(audio, changes=[(heard, "Speech")])
    np.testing.assert_allclose(out, expected, atol=2e-6)
