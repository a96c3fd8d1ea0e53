"""The plug-in, built once, and a home in which nothing is installed.

AUDIOSEP_BUNDLES names a folder with bundles that are to be tried instead of those built here.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator
from plugin_bridge.plugin import bundles
from tests.plugin_bridge.native.plugin.clap_host import ClapHost


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder with the three bundles; without the editor, which needs a display to be tried."""
    return _build(tmp_path_factory.mktemp("plugin"), "EDITOR=0")


@pytest.fixture(scope="session")
def edited(tmp_path_factory):
    """The same with the editor."""
    return _build(tmp_path_factory.mktemp("editor"), "EDITOR=1")


def _build(folder, *options):
    if elsewhere := os.environ.get("AUDIOSEP_BUNDLES"):
        return Path(elsewhere)
    if not Path("/usr/share/dpf/Makefile.plugins.mk").is_file() or shutil.which("g++") is None:
        pytest.skip("the plug-in needs g++, make and DPF (Debian: g++, make, dpf-source)")
    command = ["make", "-s", "-C", bundles.SOURCE, f"BUILD={folder}", *options]
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
    """What the engine gives at 48 kHz, in time with the mixture: (channels, frames).

    Changes are frames of the mixture with the query that is asked from each on.
    """

    def separate(audio, query="Drum kit", mode="mix", model=None, changes=(), **levels):
        # "live" has a model of its own.
        shared = model or (separator if mode != "live" else None)
        engine = StreamingSeparator([query], 48_000, len(audio), mode, shared, **levels)
        for frame, asked in changes:
            engine.set_queries([asked], frame)
        late = engine.latency_samples
        # Hosts feed silence behind the end.
        out = engine.process(np.pad(audio, ((0, 0), (0, late + 48_000))))
        return out[..., late : late + audio.shape[1]]

    return separate


@pytest.fixture
def clap(built, home):
    """Makes instances of the CLAP, whose server is that of AUDIOSEP_ADDRESS."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            host = ClapHost(built / "audiosep.clap", **options)
            stack.callback(host.close)
            return host

        yield make


@pytest.fixture
def sound_server(tmp_path, wait_until):
    """A JACK server of the test's own: its name."""
    if shutil.which("jackd") is None or shutil.which("jalv") is None:
        pytest.skip("JACK and jalv are not here (Debian: jackd2, jalv)")
    jack = pytest.importorskip("jack", exc_type=ImportError)
    name = f"audiosep-{os.getpid()}"
    command = ["jackd", "--no-realtime", "-n", name, "-d", "dummy", "-r", "48000", "-p", "1024"]
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
