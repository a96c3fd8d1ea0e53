"""The C client under guard: what its audio thread does, and what a hostile server can do to it."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import plugin_bridge
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Challenge, Changed, Failure, Latency, Opened, Welcome
from plugin_bridge.protocol.server_side import ServerProtocol
from plugin_bridge.protocol.wire import Type

HERE = Path(__file__).parent
NATIVE = Path(plugin_bridge.__file__).parent / "native"
WRAPPED = "malloc,calloc,realloc,free,pthread_mutex_lock"
GUARD = ["-DGUARD", "-Wl," + ",".join(f"--wrap={name}" for name in WRAPPED.split(","))]
ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
THREAD = ["-fsanitize=thread"]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Build a program of this folder with the client's source: its path."""
    if shutil.which("gcc") is None:
        pytest.skip("the programs that test the C client need gcc")
    folder = tmp_path_factory.mktemp("programs")

    @functools.cache
    def make(name, *flags):
        path = folder / f"{name}-{len(list(folder.iterdir()))}"
        sources = [HERE / f"{name}.c"] + [NATIVE / "audiosep_client.c"] * (name == "audio_thread")
        strict = ["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]
        command = ["gcc", *strict, *flags, f"-I{NATIVE}", *sources, "-o", path, "-lm"]
        subprocess.run(command, check=True)
        return path

    return make


@pytest.mark.parametrize("flags", [GUARD, THREAD, ADDRESS], ids=["guard", "thread", "address"])
def test_the_audio_thread_never_waits_and_races_with_nobody(build, address, flags):
    """While queries, levels, contract, mode and texts change, blocks of all sizes go through."""
    program = build("audio_thread", *flags)
    done = subprocess.run(
        [program, str(address), "400"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    connections, frames, dry = map(int, done.stdout.split())
    assert connections == 2, "one before the change of the mode, one behind it"
    assert 0 < dry < frames


@pytest.mark.parametrize("sin", ["wait", "allocate"])
def test_the_guard_notices(build, sin):
    program = build("audio_thread", *GUARD)
    done = subprocess.run([program, "/nowhere", "10", sin], capture_output=True, timeout=120)
    assert done.returncode < 0, "killed by a signal"


def server_frames():
    """What a server may say to a client whose stream has two rows of two channels."""
    server = ServerProtocol(Limits(), Welcome(0, "test", "mini", Limits().as_dict()))
    audio = np.linspace(-1, 1, 4 * 700, dtype=np.float32).reshape(4, 700)
    frames = [
        server.send(0, 0, Welcome(1, "test", "mini", {"streams": 64})),
        server.send(1, 1, Opened(latency=200, slack=960, hop=100, rows=2, model="mini")),
        *(server.send_audio(1, number, audio, bool(number % 2)) for number in range(2, 6)),
        server.send(1, 6, Changed(12)),
        server.send_plain(Type.DONE, 1, 7),
        server.send_plain(Type.PONG, 0, 8, b"pong"),
        server.send(1, 9, Failure("bad-query", 'an "escaped" sentence\n')),
        server.send(0, 10, Failure("shutdown", "goodbye", fatal=True)),
        server.send(1, 11, Latency(300, 960, 100)),
        server.send(0, 0, Challenge("c" * 64, "d" * 64)),
    ]
    # Until HELLO nothing has a version.
    return [frame[:4] + b"\1" + frame[5:] for frame in frames]


def mutated(rng, frames):
    picked = [frames[at] for at in rng.integers(0, len(frames), rng.integers(1, 6))]
    data = bytearray(b"".join(picked))
    for _ in range(rng.integers(0, 8)):
        at = int(rng.integers(0, min(len(data), 100) if rng.random() < 0.7 else len(data)))
        match rng.integers(0, 4):
            case 0:
                data[at] = rng.integers(0, 256)
            case 1:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 2:
                del data[at : at + int(rng.integers(1, 20))]
            case _:
                data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        if not data:
            break
    return bytes(data)


def test_no_byte_of_a_server_harms(build, rng):
    """20,000 conversations, made up or mutated, under the sanitizers of addresses and of C."""
    frames = server_frames()
    whole = b"".join(frames[2:6])
    cases = [(2, whole)]
    cases += [(int(rng.integers(0, 6)), rng.bytes(int(rng.integers(0, 200)))) for _ in range(5000)]
    # Behind a true header random bytes get further.
    cases += [
        (int(rng.integers(0, 6)), b"ASEP\1" + rng.bytes(int(rng.integers(0, 100))))
        for _ in range(5000)
    ]
    cases += [(int(rng.integers(0, 6)), mutated(rng, frames)) for _ in range(10_000)]
    data = b"".join(bytes([at]) + len(case).to_bytes(4, "little") + case for at, case in cases)
    done = subprocess.run([build("receive", *ADDRESS)], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    taken, answered = map(int, done.stdout.split())
    assert taken == len(cases)
    assert answered > 100, "mutated audio still gets through"


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_header_is_one_of_cpp_too():
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, "-x", "c++", NATIVE / "audiosep_client.h"], check=True)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_example_of_the_readme_runs(address, tmp_path):
    """It finds the server at its default place, and says that it did."""
    text = (NATIVE / "README.md").read_text()
    (tmp_path / "example.c").write_text(re.search(r"```c\n(.*?)```", text, re.DOTALL)[1])
    sources = [tmp_path / "example.c", NATIVE / "audiosep_client.c"]
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{NATIVE}"]
    subprocess.run(["gcc", *strict, *sources, "-o", tmp_path / "e", "-pthread", "-lm"], check=True)
    (tmp_path / "audiosep").mkdir()
    (tmp_path / "audiosep" / "bridge.sock").symlink_to(address.path)
    setting = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([tmp_path / "e"], env=setting, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"latency: [1-9]\d{4} frames\n", done.stdout)
