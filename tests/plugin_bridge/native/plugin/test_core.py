"""The plug-in's core under the compiler's sanitizers, against a real server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from plugin_bridge.plugin import bundles

pytestmark = pytest.mark.slow
PARTS = ("link.cpp", "words.cpp", "launcher.cpp", "host.cpp")


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_no_error_of_memory_or_threads(address, home, monkeypatch, tmp_path, sanitizer):
    if shutil.which("g++") is None:
        pytest.skip("the plug-in needs g++ (Debian: g++)")
    flags = ["-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-pthread"]
    client, program = tmp_path / "client.o", tmp_path / "core"
    source = bundles.SOURCE / "client.c"
    subprocess.run(["gcc", "-std=gnu99", *flags, "-c", source, "-o", client], check=True)
    parts = [Path(__file__).with_name("core.cpp"), *(bundles.SOURCE / name for name in PARTS)]
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", *flags, "-I", bundles.SOURCE]
    subprocess.run([*command, *parts, client, "-o", program], check=True)
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))
    # Somebody listens: it is never started.
    places = {"AUDIOSEP_PROGRAM": "/bin/false"}
    done = subprocess.run(
        [program], env=os.environ | places, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr and "ERROR" not in done.stderr
    assert "10000 characters is too long" in done.stdout
