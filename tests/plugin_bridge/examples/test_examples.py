"""The example writes what the same plugins make of the whole file."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

pedalboard = pytest.importorskip("pedalboard")


def test_process_in_chunks(separator, music, tmp_path):
    audio = music(2, 44_100 * 3 + 77)
    soundfile.write(tmp_path / "song.wav", audio.T, 44_100, subtype="FLOAT")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "plugin_bridge.examples.process_in_chunks",
            str(tmp_path / "song.wav"),
            str(tmp_path / "drums.wav"),
            "drums",
        ],
        check=True,
    )
    written, rate = soundfile.read(tmp_path / "drums.wav", always_2d=True)
    assert rate == 44_100
    squeezed = pedalboard.Compressor(threshold_db=-24, ratio=3)(audio, rate)
    stem = separator.separate(squeezed, rate, ["drums"])["drums"]
    expected = pedalboard.Reverb(room_size=0.3, wet_level=0.2)(stem, rate)
    assert written.shape == audio.T.shape
    # The file holds 16 bits.
    assert np.abs(written.T - expected).max() < 1e-3
    assert np.abs(written).max() > 1e-2
