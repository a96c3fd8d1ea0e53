"""The LV2 effect in real hosts, against a real server."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

import plugin_bridge
from plugin_bridge import StreamingSeparator

RATE = 48_000
NATIVE = Path(plugin_bridge.__file__).parent / "native"
URI = "urn:audiosep:lv2:"
#: The first and the fourth line of queries.txt; a stream is opened with the first.
FIRST, QUERY = "Speech", "Drum kit"


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here (Debian: lilv-utils, ffmpeg)")


@pytest.fixture(scope="module")
def effect(native_make, tmp_path_factory):
    """The effect where hosts look for it: their environment, and the folder."""
    missing = subprocess.run(
        ["gcc", "-E", "-include", "lv2/core/lv2.h", "-x", "c", os.devnull], capture_output=True
    ).returncode
    if missing:
        pytest.skip("LV2's headers are not here (Debian: lv2-dev)")
    folder = tmp_path_factory.mktemp("lv2")
    shutil.copytree(native_make("lv2") / "audiosep.lv2", folder / "audiosep.lv2")
    return folder


@pytest.fixture
def play(effect, address, tmp_path):
    """Run audio (channels, frames) through the effect in a host."""

    def run(host, audio, controls, **environment):
        paths = tmp_path / "in.wav", tmp_path / "out.wav"
        soundfile.write(paths[0], audio.T, RATE, "FLOAT")
        uri = URI + ("mono" if len(audio) == 1 else "stereo")
        setting = {"LV2_PATH": str(effect), "AUDIOSEP_ADDRESS": str(address), **environment}
        subprocess.run(
            host(*paths, uri, controls), check=True, timeout=120, env={**os.environ, **setting}
        )
        out, rate = soundfile.read(paths[1], dtype="float32", always_2d=True)
        assert rate == RATE
        return out.T

    return run


def lv2apply(source, to, uri, controls):
    """One frame a block."""
    settings = [part for name, value in controls.items() for part in ("-c", name, str(value))]
    return ["lv2apply", "-i", source, "-o", to, *settings, uri]


def ffmpeg(source, to, uri, controls):
    settings = "|".join(f"{name}={value}" for name, value in controls.items())
    effect = "lv2=p={}:c={}".format(uri.replace(":", "\\\\:"), settings)
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", source, "-af", effect]
    return [*command, "-c:a", "pcm_f32le", to]


HOSTS = pytest.mark.parametrize("host", [lv2apply, ffmpeg])


def late(audio, frames):
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


@HOSTS
@pytest.mark.parametrize("channels", [1, 2])
def test_a_host_gets_what_the_engine_gives(
    play, c_client, address, separator, feed, music, host, channels
):
    need(host.__name__)
    audio = music(channels, 3 * RATE)
    engine = StreamingSeparator([FIRST], RATE, channels, "mix", separator)
    engine.set_queries([QUERY])
    engine.strength = 1.5
    with c_client(address, [FIRST], RATE, channels) as client:
        slack = client.latency - engine.latency_samples
    out = play(host, audio, {"query": 3, "strength": 1.5, "freewheel": 1})
    np.testing.assert_array_equal(out, late(feed(engine, audio), slack))


def test_the_mode_for_tracking(play, separator, feed, music):
    """The stream is opened anew in that mode, and the host waits for it."""
    need("lv2apply")
    audio = music(2, 2 * RATE)
    engine = StreamingSeparator([QUERY], RATE, 2, "track", separator)
    # What 16,383 samples leave.
    slack = 16_383 - engine.latency_samples
    out = play(lv2apply, audio, {"query": 3, "mode": 2, "freewheel": 1})
    np.testing.assert_array_equal(out, late(feed(engine, audio), slack))


def test_residual_and_mix(play, separator, feed, music):
    need("ffmpeg")
    audio = music(2, 2 * RATE)
    engine = StreamingSeparator([FIRST], RATE, 2, "mix", separator, outputs="target+residual")
    target, residual = late(feed(engine, audio).reshape(4, -1), 16_800).reshape(2, 2, -1)
    controls = {"output": 1, "mix": 0.75, "freewheel": 1}
    out = play(ffmpeg, audio, controls)
    np.testing.assert_allclose(out, residual + 0.25 * target, atol=1e-6)


def test_queries_of_the_users_own(play, separator, feed, music, tmp_path):
    need("lv2apply")
    (tmp_path / "own.txt").write_text("Rain\n\nWind\n")
    audio = music(1, 2 * RATE)
    engine = StreamingSeparator(["Rain"], RATE, 1, "mix", separator)
    controls = {"query": 0, "freewheel": 1}
    out = play(lv2apply, audio, controls, AUDIOSEP_QUERIES=str(tmp_path / "own.txt"))
    np.testing.assert_array_equal(out, late(feed(engine, audio), 16_800))


def test_without_a_server_the_input_goes_through(play, music):
    need("lv2apply")
    audio = music(2, RATE)
    out = play(lv2apply, audio, {"query": 3}, AUDIOSEP_ADDRESS="/nowhere/s")
    np.testing.assert_array_equal(out, audio)


def test_hosts_see_names_and_latency(effect):
    need("lv2info")
    listed = describe(effect)
    assert "Has latency:       yes, reported by port 6" in listed
    assert '3 = "Drum kit"' in listed


def test_installation_with_queries_of_ones_own(effect, tmp_path):
    """Hosts show them by name, also behind a build with others."""
    need("lv2info")
    places = [f"BUILD={tmp_path / 'build'}", f"LV2DIR={tmp_path / 'lv2'}"]
    (tmp_path / "my.txt").write_text('a "quoted" \\ bell\r\n\nRain\n')
    os.utime(tmp_path / "my.txt", (0, 0))
    for queries in ([], [f"QUERIES={tmp_path / 'my.txt'}"]):
        subprocess.run(["make", "-s", "-C", NATIVE, "install", *places, *queries], check=True)
    listed = describe(tmp_path / "lv2")
    assert '0 = "a "quoted" \\ bell"' in listed
    assert '1 = "Rain"' in listed
    assert "2 = " not in listed.partition("Port 1:")[0]


def describe(folder):
    """The effect as a host sees it; a mistake in its files is an error."""
    listed = subprocess.run(
        ["lv2info", URI + "stereo"],
        env={**os.environ, "LV2_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not listed.stderr
    return listed.stdout
