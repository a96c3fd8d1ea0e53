"""Workers do not outlive whoever they work for."""

import signal
import subprocess
import sys

import pytest

CODE = """
import os
import threading
from audiosep_training.workers import worker_pool

def work(number):
    os.write(1, b"!")
    threading.Event().wait()

if __name__ == "__main__":
    with worker_pool(2) as pool:
        list(pool.map(work, range(9)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, number):
    script = tmp_path / "parent.py"
    script.write_text(CODE)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    try:
        assert parent.stdout.read(2) == "!!"
        parent.send_signal(number)
        # The end is read when the last process that could write is gone.
        assert parent.stdout.read() == ""
        assert parent.wait(60) == -number
    finally:
        parent.kill()
