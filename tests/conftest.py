"""Shared fixtures: a private cache folder, reference values, the command, and its server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from audiosep_core.commands import main
from plugin_bridge.address import Address, TcpAddress, UnixAddress

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = Path(__file__).with_name("reference")

pytest_plugins = ["tests.plugin_bridge.c_client"]

# How quick a machine is decides no test.
settings.register_profile("audiosep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("audiosep")


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["AUDIOSEP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _packages_under_test() -> None:
    """Processes that tests start find the packages too, whatever folder they start in."""
    roots = (ROOT, ROOT / "export", ROOT / "training")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, roots))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def separator():
    from audiosep_core import Separator

    return Separator(device="cpu", threads=2)


@pytest.fixture(scope="session")
def windowed(tmp_path_factory):
    """A small model of the windowed form, as the released ones are, with weights of chance."""
    import onnx
    import torch

    from audiosep_core import Separator
    from audiosep_core.model.bundle import DESCRIPTION, SEPARATOR, Bundle, sha256
    from audiosep_core.model.config import SeparatorConfig
    from audiosep_core.model.installed import open_model, packaged_text_encoder
    from audiosep_core.model.network import SeparatorNetwork
    from audiosep_export.graphs.separator_graph import separator_model

    config = SeparatorConfig(
        name="windowed",
        n_fft=1536,
        hop_length=512,
        widths=(4, 6, 8, 8, 8, 8),
        condition_size=384,
        magnitude_scale="log",
        bands=3,
        projection=8,
    )
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("windowed")
    onnx.save(separator_model(SeparatorNetwork(config).eval()), folder / SEPARATOR)
    shared = {path.name for path in packaged_text_encoder().iterdir()}
    hashes = {name: value for name, value in open_model("mini").hashes.items() if name in shared}
    hashes[SEPARATOR] = sha256(folder / SEPARATOR)
    bundle = Bundle(folder, config, hashes, "MIT", "weights of chance", 3.584)
    (folder / DESCRIPTION).write_text(json.dumps(bundle.describe()), encoding="utf-8")
    return Separator(folder, device="cpu", threads=2)


@pytest.fixture(scope="session")
def streaming_net():
    """A small streaming network with every part that a large one has, and weights of chance."""
    import torch

    from audiosep_core.model.streaming_config import StreamingConfig
    from audiosep_core.model.streaming_network import StreamingNetwork

    config = StreamingConfig(
        name="small",
        frame_rate=75,
        band_groups=((4, 2), (4, 5)),
        widths=(4, 6, 8),
        time_pooling=(1, 1, 2),
        look_ahead=16,
        recurrent=8,
        condition_size=6,
        projection=5,
    )
    torch.manual_seed(3)
    net = StreamingNetwork(config)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.2)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.nn.init.normal_(net.condition.film.weight, 0, 0.1)
    for layer in net.leave:
        torch.nn.init.normal_(layer.weight, 0, 0.1)
    return net.eval()


@pytest.fixture(scope="session")
def step_network(streaming_net, tmp_path_factory):
    """The same network as ONNX Runtime runs it."""
    import onnx

    from audiosep_core.model.bundle import CONDITION, SEPARATOR, Bundle
    from audiosep_core.runtime.steps import StepNetwork
    from audiosep_export.graphs.streaming_graph import condition_model, step_model

    folder = tmp_path_factory.mktemp("streaming")
    onnx.save(condition_model(streaming_net), folder / CONDITION)
    onnx.save(step_model(streaming_net), folder / SEPARATOR)
    return StepNetwork(Bundle(folder, streaming_net.config, {}, "MIT", "", 0.0), "cpu", 1)


@pytest.fixture(scope="session")
def reference_keys() -> dict[str, list[int]]:
    return json.loads((REFERENCE / "official_keys.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def reference_forward() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "official_forward.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def reference_metrics() -> list[dict[str, float]]:
    return json.loads((REFERENCE / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def audiosep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["audiosep", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class ServerProcess:
    """``audiosep serve`` of the package under test, in a process of its own.

    Args:
        folder: Of its socket or token, and of its log.
        options: Of the command; without ``--tcp`` it listens on ``bridge.sock``.
        ready: Whether it is to let clients in, or to refuse to start.
    """

    patience_seconds = 60

    def __init__(self, folder: Path, *options: str, ready: bool = True) -> None:
        self.address: Address = UnixAddress(folder / "bridge.sock")
        self.log = folder / "server.log"
        self._options = ["--device", "cpu", "--threads", "1", *options]
        if "--tcp" not in options:
            self._options += ["--socket", str(self.address)]
        self.start(ready)

    def start(self, ready: bool = True) -> None:
        """Start, or start again, and wait until clients can connect or it has refused."""
        code = "from audiosep_core.commands import main; main()"
        places = {"XDG_RUNTIME_DIR": str(self.log.parent)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "serve", *self._options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **places},
            )
        assert self.process.stdout
        said = self.process.stdout.readline()
        if said.startswith("ready on ") != ready:
            self.kill()
            raise AssertionError(said + self.log.read_text())
        if ready and "--tcp" in self._options:
            host, _, port = said.split()[2].rpartition(":")
            self.address = TcpAddress(int(port), host)

    def pause(self) -> None:
        """Let it answer no more, as if it hung."""
        self.process.send_signal(signal.SIGSTOP)
        # The signal takes its time to reach all threads.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """After :meth:`pause`."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Have it end, where it has not yet, by default in good order: its exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended by itself: its exit code."""
        assert self.process.stdout
        code = self.process.wait(self.patience_seconds)
        self.process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers that are gone when the test is."""
    with contextlib.ExitStack() as stack:

        def run(*options: str, folder: Path = tmp_path, ready: bool = True) -> ServerProcess:
            server = ServerProcess(folder, *options, ready=ready)
            stack.callback(server.kill)
            return server

        yield run


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that leave it alone; it must end well after them."""
    running = ServerProcess(tmp_path_factory.mktemp("bridge"))
    yield running
    assert running.end() == 0
    assert isinstance(running.address, UnixAddress) and not running.address.path.exists()
    assert '"error"' not in running.log.read_text()
