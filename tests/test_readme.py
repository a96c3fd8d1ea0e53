"""Every snippet of the README runs, except where it builds a corpus or an environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiosep_core.model.network import build_network
from plugin_bridge.address import default_address

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S)
SHELL = [text.strip() for kind, text in SNIPPETS if kind == "sh"]
LINES = SHELL[0].splitlines()
PYTHON = [text for kind, text in SNIPPETS if kind == "python"]
# These make an environment (.ci/run does), need gigabytes, train for hours, or install for good;
# tests of their own run the like on small data.
ELSEWHERE = (
    ".venv/bin/pip",
    "python3 -m venv",
    "audiosep corpus build",
    "audiosep models fetch",
    "audiosep train mini",
    "audiosep lists",
    "torchrun",
    "make -C",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    stems = ("my-stems/song/mixture.wav", "my-stems/song/drums.wav")
    for name in ("song.wav", "album/one.flac", "album/two.wav", *stems):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal((48000, 2)), 48000)
    net = build_network("mini")
    checkpoint = {"config": net.config.to_dict(), "state_dict": net.state_dict()}
    (tmp_path / "runs/mini").mkdir(parents=True)
    torch.save(checkpoint, tmp_path / "runs/mini/last.ckpt")
    return tmp_path


def run(arguments, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr


def test_there_are_snippets():
    assert len(SHELL) > 4 and PYTHON


@pytest.mark.parametrize("snippet", [text for text in SHELL if not text.startswith(ELSEWHERE)])
def test_shell(snippet, folder):
    run(["sh", "-ec", snippet], folder)


@pytest.fixture
def bridge(folder, monkeypatch, start):
    """A server where clients look for it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    default_address().path.parent.mkdir(mode=0o700)
    assert start(folder=default_address().path.parent).address == default_address()


@pytest.mark.parametrize("snippet", [text for text in PYTHON if "Bridge" not in text])
def test_python(snippet, folder):
    run([sys.executable, "-c", snippet], folder)


@pytest.mark.parametrize("snippet", [text for text in PYTHON if "Bridge" in text])
def test_python_over_the_bridge(snippet, folder, bridge):
    run([sys.executable, "-c", snippet], folder)


def test_the_two_command_lines_have_their_shape():
    assert LINES[0].startswith("python3 -m venv .venv && .venv/bin/pip install '.[cpu,plots]'")
    install, test = LINES[1].split(" && ")
    assert install == ".venv/bin/pip install -e '.[dev]'"
    assert test == ".venv/bin/pytest -n auto --dist loadfile"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
