"""The C client and the plug-in as they are built for Windows, run where Wine can."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import BridgeClient

NATIVE = Path(__file__).parents[3] / "plugin_bridge/native"
COMPILER = "x86_64-w64-mingw32-gcc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if shutil.which(COMPILER) is None:
        pytest.skip("no cross-compiler for Windows (Debian: gcc-mingw-w64-x86-64-posix)")
    return tmp_path_factory.mktemp("windows")


@pytest.fixture(scope="module")
def library(folder):
    flags = "-O2 -Wshadow -Werror"
    command = ["make", "-s", "-C", NATIVE, f"BUILD={folder}", f"CC={COMPILER}", f"CFLAGS={flags}"]
    subprocess.run([*command, "library"], check=True)
    return folder / "audiosep_client.dll"


@pytest.fixture(scope="module")
def through(folder, library):
    """A program that sends a file through the bridge, beside the library that it needs."""
    program = folder / "through.exe"
    source = Path(__file__).with_name("through.c")
    flags = ["-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]
    subprocess.run([COMPILER, *flags, "-o", program, source, library], check=True)
    return program


def test_it_needs_nothing_that_windows_lacks(library):
    tool = COMPILER.replace("gcc", "objdump")
    listed = subprocess.run([tool, "-p", library], capture_output=True, text=True, check=True)
    needed = {
        line.split()[-1].lower() for line in listed.stdout.splitlines() if "DLL Name:" in line
    }
    system = {"bcrypt.dll", "kernel32.dll", "msvcrt.dll", "winmm.dll", "ws2_32.dll"}
    assert needed and needed <= system


needs_wine = pytest.mark.skipif(
    shutil.which("wine") is None, reason="Wine is not installed (Debian: wine)"
)


@pytest.fixture
def wine(tmp_path):
    """Run a program for Windows in a folder; what it prints."""
    own = {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}

    def run(*command):
        done = subprocess.run(
            ["wine", *command], cwd=tmp_path, env=os.environ | own,
            capture_output=True, text=True, check=True, timeout=240,
        )  # fmt: skip
        return done.stdout

    yield run
    subprocess.run(["wineserver", "-k"], env=os.environ | own, check=False)


@needs_wine
def test_a_bounce_is_what_linux_gets(through, wine, start, music, tmp_path, monkeypatch):
    """Over TCP, where both sides prove that they know the token."""
    server = start("--tcp", "0")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    audio = music(2, 48_000)
    (tmp_path / "in.raw").write_bytes(np.ascontiguousarray(audio.T).tobytes())
    with BridgeClient(tcp=server.address.port) as client:
        stream = client.open("drums", 48_000, 2, mode="mix", contract="render")
        latency = stream.latency_samples
        expected = np.concatenate([stream.process(audio), stream.flush()], -1)
    # Wine hands the folder of the token on.
    where = f"tcp:{server.address.port}"
    printed = wine(through, where, "drums", "in.raw", "out.raw")
    delay, dry, failed = map(int, printed.split())
    assert dry == failed == 0
    out = np.fromfile(tmp_path / "out.raw", np.float32).reshape(-1, 2).T
    np.testing.assert_array_equal(out[:, delay:], expected[:, latency : latency + audio.shape[1]])


@pytest.mark.slow
@needs_wine
@pytest.mark.skipif(not Path("/usr/share/dpf").is_dir(), reason="DPF is not installed")
def test_the_plug_in_loads(folder, wine):
    compilers = [f"CC={COMPILER}", f"CXX={COMPILER.replace('gcc', 'g++')}"]
    command = ["make", "-s", "-C", NATIVE / "plugin", f"BUILD={folder / 'plugin'}", *compilers]
    subprocess.run(command, check=True)
    loader = folder / "load.exe"
    source = Path(__file__).with_name("load.c")
    subprocess.run([COMPILER, "-O2", "-Wall", "-Wextra", "-o", loader, source], check=True)
    built = folder / "plugin/bin"
    assert wine(loader, built / "audiosep.clap") == "AudioSep\n"
    vst3 = built / "audiosep.vst3/Contents/x86_64-win/audiosep.vst3"
    assert wine(loader, vst3) == "a factory of VST3\n"
