"""The plug-in, built once, and a home in which nothing is installed.

AUDIOSEP_BUNDLES names a folder with bundles that are to be tried instead of those built here.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator
from plugin_bridge.plugin import bundles


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder with the three bundles; without the editor, which needs a display to be tried."""
    if elsewhere := os.environ.get("AUDIOSEP_BUNDLES"):
        return Path(elsewhere)
    if not Path("/usr/share/dpf/Makefile.plugins.mk").is_file() or shutil.which("g++") is None:
        pytest.skip("the plug-in needs g++, make and DPF (Debian: g++, make, dpf-source)")
    folder = tmp_path_factory.mktemp("plugin")
    command = ["make", "-s", "-C", bundles.SOURCE, f"BUILD={folder}", "EDITOR=0"]
    subprocess.run(command, check=True)
    return folder / "bin"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No program is told that starts a server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("AUDIOSEP_PROGRAM", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def separated(separator):
    """What the engine gives at 48 kHz, in time with the mixture: (channels, frames)."""

    def separate(audio, query="Drum kit", mode="mix", model=None, **levels):
        # "live" has a model of its own.
        shared = model or (separator if mode != "live" else None)
        engine = StreamingSeparator([query], 48_000, len(audio), mode, shared, **levels)
        late = engine.latency_samples
        # Hosts feed silence behind the end.
        out = engine.process(np.pad(audio, ((0, 0), (0, late + 48_000))))
        return out[..., late : late + audio.shape[1]]

    return separate
