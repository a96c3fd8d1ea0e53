"""The benches print what they measure, and say so in one sentence where they cannot."""

import json
import sys

import numpy as np
import soundfile


def write_item(folder, music, rate=32_000):
    folder.mkdir(parents=True)
    sources = [music(1, 2 * rate, seed) for seed in (1, 2)]
    soundfile.write(folder / "mixture.wav", sum(sources).T, rate, subtype="FLOAT")
    soundfile.write(folder / "target.wav", sources[0].T, rate, subtype="FLOAT")
    (folder / "query.txt").write_text("drums\n")


def test_stream(audiosep):
    code, out, err = audiosep("bench", "stream", "--seconds", 3, "--json")
    assert code == 0, err
    results = json.loads(out)
    assert all(value > 0 for value in results.values())
    assert results["render / whole file, any length (frames)"] <= 1.35


def test_latency(audiosep, windowed, music, tmp_path):
    write_item(tmp_path / "items" / "one", music)
    asked = ["bench", "latency", "--items", "items", "--modes-only"]
    code, out, err = audiosep(*asked, "--model", windowed.bundle.folder)
    assert code == 0, err
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert [row[0] for row in rows] == ["track", "mix", "render"]
    assert all(np.isfinite(float(row[5])) for row in rows)
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
    # A model that streams has one latency and one quality, whatever the mode.
    code, out, _ = audiosep(*asked, "--json")
    assert [point["name"] for point in json.loads(out)] == ["track"]


def test_no_picture_is_said_before_the_work(audiosep, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = audiosep("bench", "latency")
    assert (code, out) == (2, "")
    assert err.startswith("Error: a picture needs the package 'matplotlib'")
    assert err.endswith("pip install 'audiosep[plots]'\n")


def test_items_that_do_not_fit(audiosep, music, tmp_path):
    code, _, err = audiosep("bench", "latency", "--items", "nowhere")
    assert code == 2 and "holds no items" in err
    write_item(tmp_path / "items" / "one", music)
    soundfile.write(tmp_path / "items/one/target.wav", np.zeros(99), 32_000)
    code, _, err = audiosep("bench", "latency", "--items", "items")
    assert code == 1 and "do not fit" in err
    (tmp_path / "items/one/target.wav").unlink()
    code, _, err = audiosep("bench", "latency", "--items", "items")
    assert code == 2 and "does not exist" in err
