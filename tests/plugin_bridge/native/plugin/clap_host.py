"""A host for CLAP plug-ins in a few lines: what clap's headers say, by ctypes."""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int16,
    c_int32,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)

import numpy as np

PARAM_VALUE, GESTURE_BEGIN, MIDI = 5, 7, 10
HAS_SECONDS, PLAYING = 1 << 2, 1 << 4
SECONDS = 1 << 31
NAME, PATH = 256, 1024
CHANNELS = 2


def structure(title, /, **fields):
    return type(title, (ctypes.Structure,), {"_fields_": list(fields.items())})


def function(result, *arguments):
    return CFUNCTYPE(result, *arguments)


Version = structure("Version", major=c_uint32, minor=c_uint32, revision=c_uint32)
Host = structure(
    "Host",
    version=Version,
    data=c_void_p,
    name=c_char_p,
    vendor=c_char_p,
    url=c_char_p,
    text=c_char_p,
    get_extension=function(c_void_p, c_void_p, c_char_p),
    request_restart=function(None, c_void_p),
    request_process=function(None, c_void_p),
    request_callback=function(None, c_void_p),
)
HostLatency = structure("HostLatency", changed=function(None, c_void_p))
Header = structure(
    "Header", size=c_uint32, time=c_uint32, space=c_uint16, type=c_uint16, flags=c_uint32
)
ParamValue = structure(
    "ParamValue",
    header=Header,
    param=c_uint32,
    cookie=c_void_p,
    note=c_int32,
    port=c_int16,
    channel=c_int16,
    key=c_int16,
    value=c_double,
)
Gesture = structure("Gesture", header=Header, param=c_uint32)
Midi = structure("Midi", header=Header, port=c_uint16, data=c_uint8 * 3)
Transport = structure(
    "Transport",
    header=Header,
    flags=c_uint32,
    beats=c_int64,
    seconds=c_int64,
    tempo=c_double,
    increase=c_double,
    loops=c_int64 * 4,
    bar_start=c_int64,
    bar=c_int32,
    numerator=c_uint16,
    denominator=c_uint16,
)
InEvents = structure(
    "InEvents",
    data=c_void_p,
    size=function(c_uint32, c_void_p),
    get=function(c_void_p, c_void_p, c_uint32),
)
OutEvents = structure("OutEvents", data=c_void_p, push=function(c_bool, c_void_p, POINTER(Header)))
Buffer = structure(
    "Buffer",
    data32=POINTER(POINTER(c_float)),
    data64=c_void_p,
    channels=c_uint32,
    latency=c_uint32,
    constant=c_uint64,
)
Process = structure(
    "Process",
    steady=c_int64,
    frames=c_uint32,
    transport=POINTER(Transport),
    inputs=POINTER(Buffer),
    outputs=POINTER(Buffer),
    input_count=c_uint32,
    output_count=c_uint32,
    in_events=POINTER(InEvents),
    out_events=POINTER(OutEvents),
)
Plugin = structure(
    "Plugin",
    descriptor=c_void_p,
    data=c_void_p,
    init=function(c_bool, c_void_p),
    destroy=function(None, c_void_p),
    activate=function(c_bool, c_void_p, c_double, c_uint32, c_uint32),
    deactivate=function(None, c_void_p),
    start_processing=function(c_bool, c_void_p),
    stop_processing=function(None, c_void_p),
    reset=function(None, c_void_p),
    process=function(c_int32, c_void_p, POINTER(Process)),
    get_extension=function(c_void_p, c_void_p, c_char_p),
    on_main_thread=function(None, c_void_p),
)
Factory = structure(
    "Factory",
    count=c_void_p,
    descriptor=c_void_p,
    create=function(POINTER(Plugin), c_void_p, POINTER(Host), c_char_p),
)
Entry = structure(
    "Entry",
    version=Version,
    init=function(c_bool, c_char_p),
    deinit=function(None),
    get_factory=function(POINTER(Factory), c_char_p),
)
Stream = structure("Stream", data=c_void_p, call=function(c_int64, c_void_p, c_void_p, c_uint64))
State = structure(
    "State",
    save=function(c_bool, c_void_p, POINTER(Stream)),
    load=function(c_bool, c_void_p, POINTER(Stream)),
)
ParamInfo = structure(
    "ParamInfo",
    id=c_uint32,
    flags=c_uint32,
    cookie=c_void_p,
    name=c_char * NAME,
    module=c_char * PATH,
    least=c_double,
    most=c_double,
    default=c_double,
)
Params = structure(
    "Params",
    count=function(c_uint32, c_void_p),
    get_info=function(c_bool, c_void_p, c_uint32, POINTER(ParamInfo)),
    get_value=function(c_bool, c_void_p, c_uint32, POINTER(c_double)),
    value_to_text=function(c_bool, c_void_p, c_uint32, c_double, c_char_p, c_uint32),
    text_to_value=function(c_bool, c_void_p, c_uint32, c_char_p, POINTER(c_double)),
    flush=c_void_p,
)
Render = structure(
    "Render",
    is_hard=function(c_bool, c_void_p),
    set=function(c_bool, c_void_p, c_int32),
)
NotePort = structure(
    "NotePort", id=c_uint32, dialects=c_uint32, preferred=c_uint32, name=c_char * NAME
)
NotePorts = structure(
    "NotePorts",
    count=function(c_uint32, c_void_p, c_bool),
    get=function(c_bool, c_void_p, c_uint32, c_bool, POINTER(NotePort)),
)
Latency = structure("Latency", get=function(c_uint32, c_void_p))


def program_change(frame, program, channel=0):
    """An event; its frame is the project's."""
    header = Header(ctypes.sizeof(Midi), frame, 0, MIDI, 0)
    return Midi(header, 0, (c_uint8 * 3)(0xC0 | channel, program, 0))


def gesture(frame, number):
    """A parameter is taken hold of."""
    header = Header(ctypes.sizeof(Gesture), frame, 0, GESTURE_BEGIN, 0)
    return Gesture(header, number)


class ClapHost:
    """One instance of a plug-in with two inputs and two stereo outputs.

    Args:
        path: Of the bundle.
        rate: Frames a second.
        block: Frames of a call, at most.
        hears_latency: Whether it takes news of the latency.
    """

    def __init__(self, path, rate=48_000, block=512, hears_latency=True):
        self.rate, self.block = rate, block
        #: Values that the plug-in told, in order: (parameter, value).
        self.told = []
        version = Version(1, 1, 1)
        ignore = function(None, c_void_p)(lambda _: None)
        self._latency = HostLatency(ignore) if hears_latency else None
        extension = function(c_void_p, c_void_p, c_char_p)(self._extension)
        names = (b"test", b"", b"", b"1")
        self._host = Host(version, None, *names, extension, ignore, ignore, ignore)
        self._entry = Entry.in_dll(ctypes.CDLL(str(path)), "clap_entry")
        assert self._entry.init(str(path).encode())
        factory = self._entry.get_factory(b"clap.plugin-factory")
        made = factory.contents.create(factory, ctypes.byref(self._host), b"audiosep.plugin")
        self._plugin, self._calls = made, made.contents
        assert self._calls.init(made)
        self._active = False

    def _extension(self, _, name):
        known = self._latency and name == b"clap.latency"
        return ctypes.addressof(self._latency) if known else None

    def extension(self, name, kind):
        return ctypes.cast(self._calls.get_extension(self._plugin, name), POINTER(kind)).contents

    def close(self):
        if self._plugin:
            self.stop()
            self._calls.destroy(self._plugin)
            self._plugin = None

    def start(self):
        assert self._calls.activate(self._plugin, self.rate, 1, self.block)
        assert self._calls.start_processing(self._plugin)
        self._active = True

    def stop(self):
        if self._active:
            self._calls.stop_processing(self._plugin)
            self._calls.deactivate(self._plugin)
        self._active = False

    def render(self, offline):
        return self.extension(b"clap.render", Render).set(self._plugin, int(offline))

    def save(self):
        saved = bytearray()

        def write(_, data, size):
            saved.extend(ctypes.string_at(data, size))
            return size

        stream = Stream(None, Stream._fields_[1][1](write))
        assert self.extension(b"clap.state", State).save(self._plugin, ctypes.byref(stream))
        return bytes(saved)

    def load(self, state):
        left = bytearray(state)

        def read(_, data, size):
            part = bytes(left[:size])
            del left[:size]
            ctypes.memmove(data, part, len(part))
            return len(part)

        stream = Stream(None, Stream._fields_[1][1](read))
        assert self.extension(b"clap.state", State).load(self._plugin, ctypes.byref(stream))

    def tell(self, **texts):
        """Load a state in which some texts are others."""
        keys = self.save().split(b"\0")
        for key, text in texts.items():
            keys[keys.index(key.encode()) + 1] = text.encode()
        self.load(b"\0".join(keys))

    @property
    def texts(self):
        parts = self.save().decode(errors="replace").split("\0")
        parts = parts[1 : parts.index("__dpf_state_end__")]
        return dict(zip(parts[::2], parts[1::2], strict=True))

    @property
    def names(self):
        """Name of a parameter to its number."""
        params, found = self.extension(b"clap.params", Params), {}
        for index in range(params.count(self._plugin)):
            info = ParamInfo()
            assert params.get_info(self._plugin, index, ctypes.byref(info))
            found[info.name.decode()] = info.id
        return found

    def value(self, name):
        value = c_double()
        params = self.extension(b"clap.params", Params)
        assert params.get_value(self._plugin, self.names[name], ctypes.byref(value))
        return value.value

    def text(self, name, value):
        text = ctypes.create_string_buffer(NAME)
        params = self.extension(b"clap.params", Params)
        assert params.value_to_text(self._plugin, self.names[name], value, text, NAME)
        return text.value.decode()

    @property
    def note_ports(self):
        return self.extension(b"clap.note-ports", NotePorts).count(self._plugin, True)

    @property
    def latency(self):
        return self.extension(b"clap.latency", Latency).get(self._plugin)

    def process(self, audio, position, events=(), playing=True):
        """One block at a frame of the project, events counted from its first: (2, frames)."""
        frames = audio.shape[1]
        rows = [np.ascontiguousarray(row, np.float32) for row in audio]
        rest = np.zeros((CHANNELS, frames), np.float32)
        out = np.empty((CHANNELS, frames), np.float32)
        buffers = [_buffer(channels) for channels in (rows, out, rest)]
        told, kept = self.told, [ctypes.cast(ctypes.byref(event), c_void_p) for event in events]

        def push(_, header):
            if header.contents.type == PARAM_VALUE:
                event = ctypes.cast(header, POINTER(ParamValue)).contents
                told.append((event.param, event.value))
            return True

        size = function(c_uint32, c_void_p)(lambda _: len(kept))
        get = function(c_void_p, c_void_p, c_uint32)(lambda _, index: kept[index].value)
        taken = InEvents(None, size, get)
        given = OutEvents(None, OutEvents._fields_[1][1](push))
        transport = Transport(Header(ctypes.sizeof(Transport)), HAS_SECONDS)
        transport.flags |= PLAYING * playing
        transport.seconds = round(position / self.rate * SECONDS)
        outputs = (Buffer * 2)(*buffers[1:])
        call = Process(
            -1, frames, ctypes.pointer(transport), ctypes.pointer(buffers[0]), outputs, 1, 2,
            ctypes.pointer(taken), ctypes.pointer(given),
        )  # fmt: skip
        assert self._calls.process(self._plugin, ctypes.byref(call))
        return out

    def play(self, audio, events=(), position=0):
        """Blocks as fast as they go, and silence until all is out: in time with the mixture."""
        late = self.latency
        tape = np.pad(audio, ((0, 0), (0, late)))
        parts = []
        for start in range(0, tape.shape[1], self.block):
            end = start + self.block
            due = [event for event in events if start <= event.header.time < end]
            for event in due:
                event.header.time -= start
            parts.append(self.process(tape[:, start:end], position + start, due))
        return np.concatenate(parts, 1)[:, late:]


def _buffer(channels):
    rows = (POINTER(c_float) * CHANNELS)(
        *(channel.ctypes.data_as(POINTER(c_float)) for channel in channels)
    )
    return Buffer(rows, None, CHANNELS, 0, 0)
