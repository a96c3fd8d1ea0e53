"""Stand-ins for the network and for the server, servers of this process, and the C client."""

import contextlib
import copy
import ctypes
import dataclasses
import functools
import operator
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import plugin_bridge
from audiosep_core import Separator
from audiosep_core.model.config import get_config
from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Opened, Welcome
from plugin_bridge.protocol.server_side import Block, Reply, ServerProtocol
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.server import BridgeServer

NATIVE = Path(plugin_bridge.__file__).parent / "native"


class Transparent:
    """Masks that let everything through; counts its calls."""

    def __init__(self, config):
        self.config = config
        self.calls = 0
        self.prepared = set()
        self.asked = set()

    def prepare(self, rows, frames):
        self.prepared.add((rows, frames))

    def masks(self, magnitude, conditions):
        assert len(magnitude) % self.config.frame_multiple == 0
        self.calls += 1
        self.asked.add((len(conditions), len(magnitude)))
        masks = np.zeros((len(conditions), 3, *magnitude.shape), np.float32)
        masks[:, :2] = 1
        return masks


@pytest.fixture(scope="session")
def transparent_with(separator):
    """A separator whose network, of a given configuration, lets everything through."""

    def make(config):
        clear = copy.copy(separator)
        clear.bundle = dataclasses.replace(separator.bundle, config=config, context_seconds=3.584)
        clear.estimator = Transparent(config)
        return clear

    return make


@pytest.fixture
def transparent(transparent_with):
    """A separator whose network sees windows, whatever form ships, and lets everything through."""
    return transparent_with(get_config("mini-windowed"))


@pytest.fixture(scope="session")
def feed():
    """Push audio through a stream in blocks of given sizes, in turn."""

    def run(stream, audio, sizes=(512,), flush=False):
        parts, position, turn = [], 0, 0
        while position < audio.shape[-1]:
            size = sizes[turn % len(sizes)]
            block = np.ascontiguousarray(audio[:, position : position + size])
            parts.append(stream.process(block))
            assert parts[-1].shape[-1] == block.shape[-1]
            assert parts[-1].dtype == np.float32
            position, turn = position + size, turn + 1
        if flush:
            parts.append(stream.flush())
        return np.concatenate(parts, -1)

    return run


@pytest.fixture(scope="session")
def music():
    """Noise and tones with a changing level: (channels, frames)."""

    def make(channels, frames, seed=7):
        rng = np.random.default_rng(seed)
        envelope = np.repeat(10 ** rng.uniform(-2, 0, frames // 2000 + 1), 2000)[:frames]
        tone = np.sin(np.arange(frames) * 0.05)
        noise = rng.standard_normal((channels, frames))
        return (0.2 * envelope * (tone + 0.5 * noise)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def native_make(tmp_path_factory):
    """Make a target of plugin_bridge/native, warnings being errors: the folder it is built in."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        pytest.skip("the native parts need gcc and make (Debian: gcc, make)")
    folder = tmp_path_factory.mktemp("native")

    def make(target):
        flags = "-O2 -g -Wshadow -Werror"
        command = ["make", "-s", "-C", NATIVE, f"BUILD={folder}", "CC=gcc", f"CFLAGS={flags}"]
        subprocess.run([*command, target], check=True)
        return folder

    return make


@pytest.fixture(scope="session")
def c_client(native_make):
    """The C client: a function that opens one, with fields of audiosep_config as arguments."""
    library = ctypes.CDLL(native_make("library") / "libaudiosep_client.so")
    library.audiosep_defaults.restype = Config
    library.audiosep_statistics.restype = Stats
    library.audiosep_open.restype = ctypes.c_void_p
    return lambda *arguments, **fields: CClient(library, *arguments, **fields)


class Config(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("model", ctypes.c_char_p),
        ("sample_rate", ctypes.c_uint32),
        ("channels", ctypes.c_uint32),
        ("mode", ctypes.c_int),
        ("contract", ctypes.c_int),
        ("silence", ctypes.c_int),
        ("queries", ctypes.POINTER(ctypes.c_char_p)),
        ("query_count", ctypes.c_uint32),
        ("slot", ctypes.c_uint32),
        ("strength", ctypes.c_float),
        ("target", ctypes.c_float),
        ("residual", ctypes.c_float),
        ("slack", ctypes.c_int32),
        ("latency", ctypes.c_uint32),
        ("max_latency", ctypes.c_uint32),
        ("open_timeout_ms", ctypes.c_uint32),
        ("render_timeout_ms", ctypes.c_uint32),
    ]


class Stats(ctypes.Structure):
    _fields_ = [
        ("connected", ctypes.c_int),
        ("connections", ctypes.c_uint32),
        ("latency", ctypes.c_uint32),
        ("frames", ctypes.c_uint64),
        ("substituted", ctypes.c_uint64),
        ("dry", ctypes.c_uint64),
        ("failed", ctypes.c_uint64),
        ("late", ctypes.c_uint64),
    ]


class Query(ctypes.Structure):
    _fields_ = [
        ("text", ctypes.c_char_p),
        ("gain_db", ctypes.c_double),
        ("mute", ctypes.c_int),
        ("solo", ctypes.c_int),
        ("negative", ctypes.c_int),
    ]


class CClient:
    """One client in C; names and units are those of audiosep_client.h."""

    CONTRACTS = ("realtime", "render", "auto")
    MODES = ("render", "mix", "track", "live")

    def __init__(self, library, address, queries, sample_rate, channels, **fields):
        self._library = library
        config = library.audiosep_defaults(ctypes.c_uint32(sample_rate), ctypes.c_uint32(channels))
        texts = [text.encode() if isinstance(text, str) else text for text in queries]
        config.address = str(address).encode()
        config.queries = (ctypes.c_char_p * len(texts))(*texts)
        config.query_count = len(texts)
        config.contract = self.CONTRACTS.index(fields.pop("contract", "realtime"))
        config.mode = self.MODES.index(fields.pop("mode", "mix"))
        for name, value in fields.items():
            setattr(config, name, value)
        self._handle = ctypes.c_void_p(library.audiosep_open(ctypes.byref(config)))
        if not self._handle:
            raise ValueError("audiosep_open refuses the configuration")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def process(self, block):
        out = np.empty_like(block)
        rows = ctypes.c_void_p * len(block)
        self._library.audiosep_process(
            self._handle,
            rows(*(row.ctypes.data for row in block)),
            rows(*(row.ctypes.data for row in out)),
            ctypes.c_uint32(block.shape[1]),
        )
        return out

    def reset(self):
        self._library.audiosep_reset(self._handle)

    def locate(self, origin):
        self._library.audiosep_locate(self._handle, ctypes.c_uint64(origin))

    def select(self, slot):
        self._library.audiosep_select(self._handle, ctypes.c_uint32(slot))

    def set_slot(self, slot, queries):
        """Queries are texts, or (text, gain_db, mute, solo, negative)."""
        listed = [query if isinstance(query, tuple) else (query, 0, 0, 0, 0) for query in queries]
        known = (Query * len(listed))(*(Query(text.encode(), *rest) for text, *rest in listed))
        return self._library.audiosep_set_slot(
            self._handle, ctypes.c_uint32(slot), known, ctypes.c_uint32(len(queries))
        )

    def set_strength(self, strength):
        self._library.audiosep_set_strength(self._handle, ctypes.c_float(strength))

    def set_levels(self, target, residual):
        self._library.audiosep_set_levels(
            self._handle, ctypes.c_float(target), ctypes.c_float(residual)
        )

    def set_contract(self, contract):
        self._library.audiosep_set_contract(self._handle, self.CONTRACTS.index(contract))

    def set_mode(self, mode):
        self._library.audiosep_set_mode(self._handle, self.MODES.index(mode))

    def abandon(self):
        self._library.audiosep_abandon(self._handle)

    @property
    def latency(self):
        return self._library.audiosep_latency(self._handle)

    @property
    def stats(self):
        return self._library.audiosep_statistics(self._handle)

    @property
    def error(self):
        text = ctypes.create_string_buffer(256)
        self._library.audiosep_error(self._handle, text, ctypes.c_size_t(len(text)))
        return text.value.decode(errors="replace")

    def close(self):
        if self._handle:
            self._library.audiosep_close(self._handle)
            self._handle = ctypes.c_void_p(None)


@pytest.fixture(scope="session")
def bridge_server():
    """Makes servers of the default model in this process, with one thread for the network."""
    return functools.partial(BridgeServer, device="cpu", threads=1)


@pytest.fixture(scope="session")
def address(server):
    """Where the server for all tests listens."""
    return server.address


class FakeServer:
    """A server that is one only as far as a test wants it.

    Args:
        address: Where to listen.
        behave: Called with this server, the connection and the protocol on a thread of each
            connection, which lasts until the test is over.
        opens: Whether it greets and opens a stream first.
        latency, slack, rows: Of that stream.
    """

    def __init__(self, address, behave, opens=True, latency=1000, slack=500, rows=1):
        self.address, self.behave, self.opens = address, behave, opens
        self._opened = Opened(latency, slack, 100, rows, "fake")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address.path))
        self._listener.listen()
        #: Set when the test is over.
        self.over = threading.Event()
        self.accepted = threading.Semaphore(0)
        self.links = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self.over.set()
        for link in [self._listener, *self.links]:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.links.append(link)
            self.accepted.release()
            thread = threading.Thread(target=self._serve, args=(link,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, link):
        protocol = ServerProtocol(Limits(), Welcome(0, "fake", "fake", {}))
        with contextlib.suppress(OSError):
            if not self.opens or self._open(link, protocol):
                self.behave(self, link, protocol)

    def _open(self, link, protocol):
        for event in self.events(link, protocol):
            if getattr(event, "type", None) == Type.OPEN:
                protocol.opened(event.stream, event.message.channels, event.message.max_block)
                link.sendall(protocol.send(event.stream, event.sequence, self._opened))
                return True
        return False

    def events(self, link, protocol):
        """What a client sends, as long as it does."""
        while data := link.recv(1 << 16):
            for event in protocol.receive(data):
                if isinstance(event, Reply):
                    link.sendall(event.data)
                else:
                    yield event

    def blocks(self, link, protocol):
        """The audio of what a client sends, and what answers it with rows."""
        for event in self.events(link, protocol):
            if isinstance(event, Block):

                def answer(rows, substituted=False, to=event):
                    return protocol.send_audio(to.stream, to.sequence, rows, substituted)

                yield event.audio, answer


@pytest.fixture
def fake(tmp_path):
    """Start servers that misbehave."""
    with contextlib.ExitStack() as stack:

        def run(behave, **options):
            server = FakeServer(UnixAddress(tmp_path / "fake.sock"), behave, **options)
            stack.callback(server.close)
            return server

        yield run


@pytest.fixture(scope="session")
def wait_until():
    """Wait for something that another thread or process brings about."""

    def wait(condition):
        never, limit = threading.Event(), time.monotonic() + 60
        while not condition():
            assert time.monotonic() < limit, "it did not happen"
            never.wait(0.01)

    return wait


@pytest.fixture
def held(wait_until):
    """A context behind which a process holds no more descriptors and threads; a leak stays."""

    @contextlib.contextmanager
    def check(pid, threads=None):
        def count():
            kinds = [len(list(Path("/proc", str(pid), name).iterdir())) for name in ("fd", "task")]
            return kinds[0], threads() if threads else kinds[1]

        before = count()
        yield
        wait_until(lambda: all(map(operator.le, count(), before)))

    return check


@pytest.fixture(scope="session")
def local():
    """What the server runs, in this process."""
    return Separator(device="cpu", threads=1)


@pytest.fixture
def nothing_left(held):
    """Fails where descriptors or threads of Python are left over."""
    # The network starts threads of its own when it is first used.
    with held("self", threading.active_count):
        yield
