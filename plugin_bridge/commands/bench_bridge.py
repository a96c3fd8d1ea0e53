"""``audiosep bench bridge``: what the bridge costs, and how many streams it carries."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from audiosep_core.commands.console import model_option
from audiosep_core.model.state import NetworkState
from audiosep_core.separator import Separator
from plugin_bridge.address import UnixAddress
from plugin_bridge.client.sync.client import BridgeClient
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.protocol.client_side import ClientProtocol
from plugin_bridge.protocol.wire import Type

_RATE = 48_000
_CHANNELS = 2
_BLOCK = 512
#: Blocks that one side processes before the other has its turn.
_TURN = 470
_TURNS = 6
_PATIENCE = 10.0


@click.command()
@model_option
@click.option("--streams", default=8, show_default=True, help="At the same time.")
@click.option("--seconds", default=20.0, show_default=True, help="Of the soak.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str, streams: int, seconds: float, as_json: bool) -> None:
    """Measure the bridge, with a server in a process of its own.

    "overhead" compares 512-frame stereo blocks through the bridge with the same blocks through
    an engine in this process, turn by turn. "soak" runs streams in mode "mix" at the pace of
    real time, in the contract "realtime". "batches" compares what the streams get through
    together, in the contract "render", with and without batches.
    """
    figures: dict[str, Any] = {}
    with _server(model, True) as (address, process):
        figures["overhead"] = overhead(address, model)
        figures["soak"] = soak(address, process, streams, seconds)
        with_batches = throughput(address, streams)
    with _server(model, False) as (address, _):
        without = throughput(address, streams)
    figures["batches"] = {
        "streams": streams,
        "times real time": with_batches,
        "one by one": without,
        "ratio": with_batches / without,
    }
    figures = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 3))
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    for part, values in figures.items():
        click.echo(part)
        for name, value in values.items():
            click.echo(f"  {name:<44}{value:>12}")


def overhead(address: UnixAddress, model: str) -> dict[str, float]:
    """Microseconds that a block takes through the bridge beyond what it takes here.

    The bare round trip beside it tells how long this machine takes to wake up two programs,
    which is several times longer where the cores may sleep.
    """
    # As the server has it.
    separator = Separator(model, spinning=False)
    counted = _Counted(separator.estimator)
    engine = StreamingSeparator(["drums"], _RATE, _CHANNELS, "mix", separator, estimator=counted)
    sound = _sound(_TURN * _BLOCK)
    blocks = [np.ascontiguousarray(part) for part in np.split(sound, _TURN, axis=1)]
    here, there, bare, network = [], [], [], []
    with BridgeClient(address.path) as client, address.connect(_PATIENCE) as link:
        stream = client.open(["drums"], _RATE, _CHANNELS, "mix", "render")
        protocol = ClientProtocol()
        link.sendall(protocol.hello("audiosep bench"))
        _answer(protocol, link)
        for _ in range(_TURNS):
            for block in blocks:
                calls, started = counted.calls, time.perf_counter()
                engine.process(block)
                here.append(time.perf_counter() - started)
                network.append(counted.calls > calls)
            for block in blocks:
                started = time.perf_counter()
                stream.process(block)
                there.append(time.perf_counter() - started)
            for block in blocks:
                started = time.perf_counter()
                link.sendall(protocol.plain(Type.PING, 0, block.tobytes()))
                _answer(protocol, link)
                bare.append(time.perf_counter() - started)
    asked = np.array(network)
    inside, outside = 1e6 * np.array(here), 1e6 * np.array(there)
    figures: dict[str, float] = {"blocks": len(here)}
    figures["bare round trip of as many bytes, p50, µs"] = float(1e6 * np.median(bare))
    for title, chosen in (("without the network", ~asked), ("all", asked | ~asked)):
        figures[f"in this process, {title}, p50, µs"] = float(np.median(inside[chosen]))
        for share in (50, 99):
            beyond = np.percentile(outside[chosen], share) - np.percentile(inside[chosen], share)
            figures[f"overhead, {title}, p{share}, µs"] = float(beyond)
    return figures


def soak(
    address: UnixAddress, process: multiprocessing.process.BaseProcess, streams: int, seconds: float
) -> dict[str, Any]:
    """Streams at the pace of real time; what was late, and whether memory grew."""
    blocks = max(2, int(seconds * _RATE / _BLOCK))
    sound = _sound(_RATE * 10)
    memory: list[float] = []

    def play(stream: Any, phase: float) -> None:
        began = time.monotonic() + phase
        for number in range(blocks):
            ahead = began + number * _BLOCK / _RATE - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            at = number * _BLOCK % (sound.shape[1] - _BLOCK)
            stream.process(np.ascontiguousarray(sound[:, at : at + _BLOCK]))

    with BridgeClient(address.path) as client:
        opened = [client.open(["drums"], _RATE, _CHANNELS, "mix") for _ in range(streams)]
        threads = [
            # Tracks of a session start together; hosts call them one behind the other.
            threading.Thread(target=play, args=(stream, number * 0.001))
            for number, stream in enumerate(opened)
        ]
        for thread in threads:
            thread.start()
        # Buffers grow to their sizes in the first tenth.
        threads[0].join(seconds / 10)
        memory.append(_memory_mb(process))
        for thread in threads:
            thread.join()
        memory.append(_memory_mb(process))
        figures = [stream.statistics() for stream in opened]
        load = client.statistics()["load"]
    served = [figure["server"] for figure in figures]
    result = {"streams": streams, "seconds": seconds}
    for name in ("blocks", "late_blocks", "substitutions"):
        result[name.replace("_", " ")] = sum(figure[name] for figure in served)
    result["dry frames"] = sum(stream.dry_frames for stream in opened)
    for name in ("p50_ms", "p99_ms", "p999_ms"):
        worst = max(figure["network"][name] for figure in served)
        result[f"wait of a hop, worst stream, {name.replace('_', ', ')}"] = worst
    result["load since the start"] = load
    result["memory after a tenth, MB"], result["memory in the end, MB"] = memory
    return result


def throughput(address: UnixAddress, streams: int) -> float:
    """Seconds of sound that streams get through in a second, all of them together."""
    sound = _sound(_RATE * 8)
    block = 4096

    def work(stream: Any) -> None:
        for start in range(0, sound.shape[1] - block, block):
            stream.process(np.ascontiguousarray(sound[:, start : start + block]))

    with BridgeClient(address.path) as client:
        opened = [client.open(["drums"], _RATE, _CHANNELS, "mix", "render") for _ in range(streams)]
        threads = [threading.Thread(target=work, args=(stream,)) for stream in opened]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return streams * sound.shape[1] / _RATE / (time.monotonic() - started)


class _Counted:
    """An estimator of either form that counts its calls."""

    def __init__(self, estimator: Any) -> None:
        self.config = estimator.config
        self.prepare = estimator.prepare
        self.calls = 0
        self._estimator = estimator

    def start(self, conditions: NDArray[np.float32]) -> NetworkState:
        state: NetworkState = self._estimator.start(conditions)
        return state

    def step(self, magnitude: NDArray[np.float32], state: NetworkState) -> Any:
        self.calls += 1
        return self._estimator.step(magnitude, state)

    def masks(self, magnitude: NDArray[np.float32], conditions: NDArray[np.float32]) -> Any:
        self.calls += 1
        return self._estimator.masks(magnitude, conditions)


def _answer(protocol: ClientProtocol, link: socket.socket) -> None:
    """Wait for one answer."""
    while not list(protocol.receive(link.recv(1 << 16))):
        pass


@contextlib.contextmanager
def _server(
    model: str, batches: bool
) -> Iterator[tuple[UnixAddress, multiprocessing.process.BaseProcess]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        address = UnixAddress(Path(folder) / "bridge.sock")
        process = context.Process(target=_serve, args=(address, model, batches, theirs))
        process.start()
        try:
            # Its end of the pipe is closed here, so that its death is noticed.
            theirs.close()
            ours.recv()
            yield address, process
            ours.send("stop")
        finally:
            process.join(10)
            process.kill()


def _serve(address: UnixAddress, model: str, batches: bool, parent: Connection) -> None:
    from plugin_bridge.commands.serve import SWITCH_SECONDS
    from plugin_bridge.server.server import BridgeServer, running

    sys.setswitchinterval(SWITCH_SECONDS)
    with running(BridgeServer(address, model, batches=batches)):
        parent.send("ready")
        with contextlib.suppress(EOFError):
            parent.recv()


def _memory_mb(process: multiprocessing.process.BaseProcess) -> float:
    """Memory that a process has now; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def _sound(frames: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((_CHANNELS, frames))).astype(np.float32)
