"""A server of the bridge in a process of its own."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


class ServerProcess:
    """``audiosep serve``, running until it is stopped or killed.

    Args:
        arguments: Of the command.
        environment: On top of this process's own.
    """

    def __init__(self, *arguments, environment=None):
        self._arguments = [str(argument) for argument in arguments]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.start()

    def start(self):
        """Start, or start again, and wait until clients can connect."""
        code = "from audiosep_core.commands import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--threads", "1", *self._arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline().decode() if ready else ""
        if not line.startswith("ready on "):
            self.kill()
            raise RuntimeError(f"the server did not start: {line!r}")
        self.address = line.removeprefix("ready on ").partition(" (")[0]

    def pause(self):
        """Let it answer no more, as if it hung."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """After :meth:`pause`."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Have it end in good order."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()


@contextlib.contextmanager
def serving(*arguments, **settings):
    """A server that is gone in the end."""
    server = ServerProcess(*arguments, **settings)
    try:
        yield server
    finally:
        server.go_on()
        server.stop()
