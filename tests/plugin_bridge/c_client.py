"""The C client for Python, and what builds the native parts: fixtures for all tests."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import plugin_bridge

NATIVE = Path(plugin_bridge.__file__).parent / "native"


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
