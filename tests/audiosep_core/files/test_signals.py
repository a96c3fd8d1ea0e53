"""A signal that comes while libsndfile reads or writes: one sentence, and nothing is left."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audiosep_core.files.signals import signals_wait

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals differ")

WRITING = """
from audiosep_core.files.audio_writer import _Sink
once, plain = [SIGNAL], _Sink.write
def write(sink, data):
    # The third is not the header.
    calls.append(0)
    if len(calls) > 2 and once: os.kill(os.getpid(), once.pop())
    return plain(sink, data)
_Sink.write = write
"""
READING = """
from audiosep_core.files.view import View
once, plain = [SIGNAL], View.readinto
def readinto(view, room):
    # The first are headers.
    calls.append(0)
    if len(calls) > 20 and once: os.kill(os.getpid(), once.pop())
    return plain(view, room)
View.readinto = readinto
"""


@pytest.mark.parametrize("place", [WRITING, READING], ids=["writing", "reading"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_inside_of_libsndfile(tmp_path, place, number):
    audio = np.random.default_rng(0).standard_normal((400_000, 2)) * 0.1
    soundfile.write(tmp_path / "a.wav", audio, 44_100)
    # A recorder that died has left no length: it is read as it should have been.
    with (tmp_path / "a.wav").open("r+b") as file:
        file.seek(40)
        file.write(bytes(4))
    code = (
        f"import os; calls = []\n{place.replace('SIGNAL', str(int(number)))}\n"
        "from audiosep_core.commands import main; main()"
    )
    line = [sys.executable, "-c", code, "separate", "a.wav", "-q", "drums", "-o", "o"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    # click breaks the line of a Ctrl-C.
    assert (done.returncode, done.stderr.lstrip()) == (128 + number, "stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_signals_come_in_the_end_and_handlers_stay():
    before = signal.getsignal(signal.SIGINT)
    reached = []
    with pytest.raises(KeyboardInterrupt), signals_wait():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(True)
    assert reached and signal.getsignal(signal.SIGINT) is before
    # What another program has had ignored stays so.
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, ignored)
