"""What is asked in the page, without a page."""

import dataclasses
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiosep_core.errors import AudioFileError, ModeError, QueryError, UsageError
from audiosep_core.model.config import get_config
from audiosep_core.settings import Query
from plugin_bridge import StreamingSeparator
from plugin_bridge.desk.heard import HeardSeparator, modes_of
from plugin_bridge.desk.remix import levels, remix
from plugin_bridge.desk.runs import Runs, StoppedError
from plugin_bridge.desk.separation import (
    PLAYED_SECONDS,
    Models,
    parse_settings,
    separate_sound,
)


def test_lines_are_queries_with_gains():
    settings = parse_settings(" drums = -6 dB \n\na = b\nrain=+3.5", "wind", 2, " -20 dB")
    assert settings.queries == (
        Query("drums", -6.0),
        Query("a = b"),
        Query("rain", 3.5),
        Query("wind", negative=True),
    )
    assert settings.strength == 2 and settings.remainder_db == -20
    for lines, error in (
        ("", QueryError),
        ("a\na", QueryError),
        ("\n".join("abcdefg"), UsageError),
    ):
        with pytest.raises(error):
            parse_settings(lines, "", 1)


def test_no_remainder_is_none_of_it():
    assert parse_settings("rain", "", 1, "").remainder_db == -np.inf
    with pytest.raises(UsageError, match="'loud' is no number of dB"):
        parse_settings("rain", "", 1, "loud")


def asked(lines="rain"):
    return parse_settings(lines, "", 1)


def test_sounds_that_no_page_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UsageError, match="no sound yet"):
        separate_sound(Models(), None, asked(), "mini", print)
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    with pytest.raises(AudioFileError, match=r"cat\.png") as caught:
        separate_sound(Models(), str(picture), asked(), "mini", print)
    assert str(tmp_path) not in str(caught.value)
    assert list(tmp_path.iterdir()) == [picture]


def test_no_room_is_one_sentence(tmp_path, monkeypatch):
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.zeros((4000, 2)), 8000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(AudioFileError, match="cannot be written"):
        separate_sound(Models(), str(sound), asked(), "mini", print)


@pytest.mark.skipif(os.name == "nt", reason="resource limits differ")
@pytest.mark.parametrize("most", [15_000, 60_000], ids=["stems", "players"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, music, most):
    import resource

    pytest.importorskip("matplotlib")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = tmp_path / "a.flac"
    soundfile.write(sound, np.round(music(1, 40_000).T * 100) / 2**15, 44_100, "PCM_16")
    models = Models()
    # What is kept of queries and the model is there before the disk is full.
    separate_sound(models, str(sound), asked(), "mini", lambda part: None)
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(AudioFileError, match=r"cannot be written: File too large; make room"):
            separate_sound(models, str(sound), asked(), "mini", lambda part: None)
        players = list(tmp_path.glob("desk-*/1.wav"))
        with pytest.raises(AudioFileError, match="File too large"):
            remix(players, [1.0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert not [path for path in left if path.stat().st_size]


def test_what_is_stopped_leaves_nothing(tmp_path, monkeypatch, music):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = tmp_path / "mix.wav"
    soundfile.write(sound, music(2, 400_000).T, 44_100)
    runs, parts = Runs(), []

    def progress(part, check):
        parts.append(part)
        if len(parts) == 2:
            runs.stop("another tab")
            check()
            runs.stop("this tab")
        check()

    with pytest.raises(StoppedError), runs.run("this tab") as check:
        separate_sound(Models(), str(sound), asked(), "mini", lambda part: progress(part, check))
    assert len(parts) == 2 and parts[-1] < 1
    assert list(tmp_path.iterdir()) == [sound]
    # It was that run that was stopped, and not the next one.
    with runs.run("this tab") as check:
        check()


def test_a_file_sounds_as_a_live_stream_of_its_mode(tmp_path, monkeypatch, music):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pytest.importorskip("matplotlib")
    sound, audio = tmp_path / "mix.wav", music(2, 60_000)
    soundfile.write(sound, audio.T, 48_000, "FLOAT")
    models = Models()
    mode = modes_of(models["mini"])[-1]
    result = separate_sound(models, str(sound), asked("drums"), "mini", print, mode)
    stream = StreamingSeparator("drums", 48_000, 2, mode, models["mini"])
    live = np.concatenate([stream.process(audio), stream.flush()], -1)[:, stream.latency_samples :]
    heard, _ = soundfile.read(result.sounds[1].file, dtype="float32")
    np.testing.assert_allclose(heard.T, live, atol=1e-4)
    assert result.latency_ms == pytest.approx(stream.latency_samples / 48)


def test_modes_are_those_that_the_model_keeps_to(separator, step_network):
    bundle = dataclasses.replace(
        separator.bundle, config=dataclasses.replace(step_network.config, look_ahead=0)
    )
    assert modes_of(SimpleNamespace(bundle=bundle)) == ["render", "mix", "track"]
    windowed = dataclasses.replace(separator.bundle, config=get_config("mini-windowed"))
    assert modes_of(SimpleNamespace(bundle=windowed)) == ["render", "mix", "track"]
    with pytest.raises(ModeError, match="cannot be played through"):
        HeardSeparator(SimpleNamespace(bundle=windowed), "live")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.name == "nt", reason="resource usage differs")
def test_two_hours_take_no_more_memory_than_minutes(tmp_path):
    pytest.importorskip("matplotlib")
    code = """
import resource, sys, tempfile
tempfile.tempdir = sys.argv[2]
from plugin_bridge.desk.remix import remix
from plugin_bridge.desk.separation import Models, parse_settings, separate_sound
result = separate_sound(
    Models(), sys.argv[1], parse_settings("rain", "", 1), "mini", lambda part: None
)
remix([sound.player for sound in result.sounds[1:]], [1.0, 1.0])
print(result.length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    used = []
    for seconds in (PLAYED_SECONDS + 60, 7200):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        sound = folder / "long.wav"
        with soundfile.SoundFile(sound, "w", 8000, 1, "PCM_16") as file:
            for _ in range(seconds // 60):
                file.write(np.zeros(8000 * 60, np.int16))
        line = [sys.executable, "-c", code, str(sound), str(folder)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        length, memory = done.stdout.split()
        assert float(length) == seconds
        (stem,) = folder.glob("desk-*/long/rain.wav")
        assert soundfile.info(stem).duration == seconds
        for player in folder.glob("desk-*/[0-9].wav"):
            assert soundfile.info(player).duration == PLAYED_SECONDS
        used.append(int(memory))
    # The whole of it would be 230 MB more as floating point.
    assert used[1] < used[0] + 60_000


def test_a_result_holds_all_sounds(tmp_path, monkeypatch, music):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = tmp_path / "mix.flac"
    soundfile.write(sound, music(2, 30_000).T, 44_100, "PCM_24")
    parts = []
    settings = parse_settings("rain\ndrums", "", 1)
    result = separate_sound(Models(), str(sound), settings, "mini", parts.append)
    assert [one.title for one in result.sounds] == ["mixture", "rain", "drums", "residual"]
    assert parts[-1] == 1 and result.model == "mini" and result.seconds > 0
    for one in result.sounds[1:]:
        assert soundfile.info(one.file).subtype == "PCM_24" and one.file.suffix == ".flac"
        assert one.picture.read_bytes().startswith(b"\x89PNG")
    whole, rate = soundfile.read(remix([one.player for one in result.sounds[1:]], [1, 1, 1]))
    mixture, _ = soundfile.read(sound)
    assert rate == 44_100 and np.abs(whole - mixture).max() < 2e-4


def test_a_remix_takes_the_place_of_the_one_before(tmp_path):
    player = tmp_path / "1.wav"
    soundfile.write(player, np.full(1000, 0.5), 8000)
    first = remix([player], [1.0])
    second = remix([player], [0.5])
    assert first != second and sorted(tmp_path.iterdir()) == sorted([player, second])
    assert soundfile.read(second)[0] == pytest.approx(0.25, abs=1e-4)


def test_mutes_and_solos():
    assert levels([0, 0, -20], [False] * 3, [False] * 3) == pytest.approx([1, 1, 0.1])
    assert levels([0, 0, 0], [True, False, False], [False, False, True]) == [0, 0, 1]
    assert levels([0, 0], [True, False], [True, False]) == [0, 0]
