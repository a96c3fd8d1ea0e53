"""What can be asked of files: negative queries, gains, strength, the remainder."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_core import Query, Settings
from audiosep_core.files.catalogue import JOURNAL

RATE = 44100


def write(path, frames=RATE):
    audio = 0.1 * np.random.default_rng(3).standard_normal((frames, 2))
    soundfile.write(path, audio, RATE, subtype="FLOAT")


def files_in(folder):
    found = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != JOURNAL]
    return sorted(str(path.relative_to(folder)) for path in found)


ASKED = ("-q", "drums", "-q", "wind", "--not", "rain", "--gain", "drums=-6", "--gain", "wind=2.5")


def test_a_file_can_be_asked_what_a_stream_can(audiosep, separator):
    write("a.wav")
    code, _, err = audiosep(
        "separate", "a.wav", *ASKED, "--strength", 2, "--remainder", -20, "-o", "out", "--residual"
    )
    assert code == 0, err
    queries = [Query("drums", -6), Query("wind", 2.5), Query("rain", negative=True)]
    audio = soundfile.read("a.wav", dtype="float32")[0].T
    expected = separator.separate(audio, RATE, Settings(queries, 2, -20))
    assert files_in("out") == ["a/drums.wav", "a/residual.wav", "a/wind.wav"]
    for name, stem in expected.items():
        written = soundfile.read(f"out/a/{name}.wav", dtype="float32")[0].T
        assert np.abs(written - stem).max() < 1e-5


def test_other_levels_are_another_run(audiosep):
    write("a.wav", frames=2000)
    write("b.wav", frames=2000)
    run = ("separate", "a.wav", "b.wav", "-q", "drums", "-o", "out", "--resume")
    assert audiosep(*run)[0] == 0
    assert audiosep(*run)[0] == 0
    code, _, err = audiosep(*run, "--strength", 2)
    assert code == 2 and "--overwrite" in err
    assert audiosep(*run, "--strength", 2, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "options, message",
    [
        (("--gain", "piano=3"), "names no query"),
        (("--gain", "drums"), "names no query"),
        (("--gain", "drums=loud"), "'loud' is no number of dB"),
        (("--gain", "drums=nan"), "no number of dB"),
        (("--gain", "drums=99"), "no number of dB"),
        (("--strength", "0"), "strength must be"),
        (("--remainder", "99"), "remainder_db must be"),
        (("--not", "drums"), "given twice"),
        (("--not", " "), "empty"),
    ],
)
def test_levels_that_cannot_be(audiosep, options, message):
    write("a.wav", frames=2000)
    code, _, err = audiosep("separate", "a.wav", "-q", "drums", *options, "-o", "out")
    assert code == 2
    assert message in err and "Traceback" not in err
    assert not Path("out").exists()
