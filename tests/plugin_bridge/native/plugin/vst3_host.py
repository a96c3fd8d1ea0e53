"""A host for VST3 plug-ins in a few lines: calls by their place in an interface, by ctypes."""

import ctypes
import struct
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_double,
    c_float,
    c_int16,
    c_int32,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)

import numpy as np

CAN_AUTOMATE, HIDDEN, PROGRAM_CHANGE = 1 << 0, 1 << 4, 1 << 15
AUDIO, EVENT, INPUT, OUTPUT = 0, 1, 0, 1
PLAYING, OFFLINE = 1 << 1, 2
CHANNELS = 2
Text = c_int16 * 128
COMPONENT = (0xE831FF31, 0xF2D54301, 0x928EBBEE, 0x25697802)
PROCESSOR = (0x42043F99, 0xB7DA453C, 0xA569E79D, 0x9AAEC33D)
CONTROLLER = (0xDCD7BBE3, 0x7742448D, 0xA874AACC, 0x979C759E)
UNITS = (0x3D4BD6B5, 0x913A4FD2, 0xA886E768, 0xA5EB92C1)
MIDI_MAPPING = (0xDF0FF9F7, 0x49B74669, 0xB63AB732, 0x7ADBF5E5)


def structure(title, /, **fields):
    return type(title, (ctypes.Structure,), {"_fields_": list(fields.items())})


ClassInfo = structure(
    "ClassInfo",
    id=c_uint8 * 16,
    count=c_int32,
    category=ctypes.c_char * 32,
    name=ctypes.c_char * 64,
)
ParamInfo = structure(
    "ParamInfo",
    id=c_uint32,
    title=Text,
    short=Text,
    units=Text,
    steps=c_int32,
    default=c_double,
    unit=c_int32,
    flags=c_int32,
)
UnitInfo = structure("UnitInfo", id=c_int32, parent=c_int32, name=Text, programs=c_int32)
ListInfo = structure("ListInfo", id=c_int32, name=Text, count=c_int32)
Setup = structure("Setup", mode=c_int32, sample=c_int32, block=c_int32, rate=c_double)
Buses = structure("Buses", channels=c_int32, silent=c_uint64, buffers=POINTER(POINTER(c_float)))
Context = structure(
    "Context",
    state=c_uint32,
    rate=c_double,
    project=c_int64,
    system=c_int64,
    continuous=c_int64,
    music=c_double * 5,
    signature=c_int32 * 2,
    chord=c_uint8 * 4,
    smpte=c_int32,
    frame_rate=c_uint32 * 2,
    clock=c_int32,
)
Data = structure(
    "Data",
    mode=c_int32,
    sample=c_int32,
    frames=c_int32,
    input_buses=c_int32,
    output_buses=c_int32,
    inputs=POINTER(Buses),
    outputs=POINTER(Buses),
    in_changes=c_void_p,
    out_changes=c_void_p,
    in_events=c_void_p,
    out_events=c_void_p,
    context=POINTER(Context),
)


def identity(words):
    return (c_uint8 * 16)(*struct.pack(">4I", *words))


def text_of(units):
    return bytes(units).decode("utf-16-le").partition("\0")[0]


class Interface:
    """What the plug-in gives: calls by their place."""

    def __init__(self, pointer):
        self.pointer = pointer

    def call(self, place, *arguments, kinds=(), result=c_int32):
        table = ctypes.cast(self.pointer, POINTER(POINTER(c_void_p))).contents
        return CFUNCTYPE(result, c_void_p, *kinds)(table[place])(self.pointer, *arguments)

    def query(self, words):
        found = c_void_p()
        kinds = (c_void_p, POINTER(c_void_p))
        self.call(0, identity(words), byref(found), kinds=kinds)
        return Interface(found.value) if found.value else None

    def release(self):
        self.call(2, result=c_uint32)


class Offered:
    """What the host gives: an object with a table of Python functions."""

    def __init__(self, *calls):
        nothing = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p)(lambda *_: -1)
        count = CFUNCTYPE(c_uint32, c_void_p)(lambda _: 1)
        self._kept = [nothing, count, count, *(CFUNCTYPE(*kinds)(call) for kinds, call in calls)]
        addresses = (ctypes.cast(call, c_void_p).value for call in self._kept)
        self._table = (c_void_p * len(self._kept))(*addresses)
        self._object = c_void_p(ctypes.addressof(self._table))
        self.pointer = ctypes.addressof(self._object)


def queue(number, points):
    """Points of a parameter in a block: (frame, value from 0 to 1)."""

    def point(_, index, frame, value):
        frame[0], value[0] = points[index]
        return 0

    def add(_, frame, value, index):
        points.append((frame, value))
        index[0] = len(points) - 1
        return 0

    i32, f64 = POINTER(c_int32), POINTER(c_double)
    return Offered(
        ((c_uint32, c_void_p), lambda _: number),
        ((c_int32, c_void_p), lambda _: len(points)),
        ((c_int32, c_void_p, c_int32, i32, f64), point),
        ((c_int32, c_void_p, c_int32, c_double, i32), add),
    )


def changes(queues, told=None):
    def add(_, number, index):
        index[0] = len(queues)
        queues.append(queue(number[0], told.setdefault(number[0], [])))
        return queues[-1].pointer

    return Offered(
        ((c_int32, c_void_p), lambda _: len(queues)),
        ((c_void_p, c_void_p, c_int32), lambda _, index: queues[index].pointer),
        ((c_void_p, c_void_p, POINTER(c_uint32), POINTER(c_int32)), add),
    )


def stream(data):
    """Reads from bytes, or appends to a bytearray."""
    at = [0]

    def read(_, to, size, done):
        part = bytes(data[at[0] : at[0] + size])
        ctypes.memmove(to, part, len(part))
        at[0] += len(part)
        if done:
            done[0] = len(part)
        return 0

    def write(_, source, size, done):
        data.extend(ctypes.string_at(source, size))
        if done:
            done[0] = size
        return 0

    kinds = (c_int32, c_void_p, c_void_p, c_int32, POINTER(c_int32))
    return Offered((kinds, read), (kinds, write))


class Vst3Host:
    """One instance of a plug-in with two inputs and two stereo outputs, bouncing.

    Args:
        library: Inside the bundle.
        rate: Frames a second.
        block: Frames of a call, at most.
    """

    def __init__(self, library, rate=48_000, block=512):
        self.rate, self.block = rate, block
        loaded = ctypes.CDLL(str(library))
        assert loaded.ModuleEntry(c_void_p(loaded._handle))
        loaded.GetPluginFactory.restype = c_void_p
        self._factory = Interface(loaded.GetPluginFactory())
        info = ClassInfo()
        self._factory.call(5, 0, byref(info), kinds=(c_int32, c_void_p))
        self.component = self._create(info.id, COMPONENT)
        assert self.component.call(3, None, kinds=(c_void_p,)) == 0
        self.processor = self.component.query(PROCESSOR)
        self.controller = self.component.query(CONTROLLER)
        if self.controller is None:
            number = (c_uint8 * 16)()
            assert self.component.call(5, number, kinds=(c_void_p,)) == 0
            self.controller = self._create(number, CONTROLLER)
        assert self.controller.call(3, None, kinds=(c_void_p,)) == 0
        buses = ((INPUT, 0), (OUTPUT, 0), (OUTPUT, 1))
        for direction, bus in buses:
            kinds = (c_int32, c_int32, c_int32, c_uint8)
            assert self.component.call(10, AUDIO, direction, bus, 1, kinds=kinds) == 0

    def _create(self, number, words):
        made = c_void_p()
        kinds = (c_void_p, c_void_p, POINTER(c_void_p))
        assert self._factory.call(6, number, identity(words), byref(made), kinds=kinds) == 0
        return Interface(made.value)

    def close(self):
        for part in (self.controller, self.component):
            assert part.call(4) == 0
        for part in (self.controller, self.processor, self.component):
            part.release()

    def tell(self, **texts):
        """Give both halves a state in which some texts are others."""
        saved = bytearray()
        taken = stream(saved)
        assert self.component.call(13, taken.pointer, kinds=(c_void_p,)) == 0
        keys = bytes(saved).split(b"\0")
        for key, text in texts.items():
            keys[keys.index(key.encode()) + 1] = text.encode()
        for part, place in ((self.component, 12), (self.controller, 5)):
            given = stream(b"\0".join(keys))
            assert part.call(place, given.pointer, kinds=(c_void_p,)) == 0

    @property
    def parameters(self):
        """Title of a parameter to what is told of it."""
        found = {}
        for index in range(self.controller.call(8)):
            info = ParamInfo()
            assert self.controller.call(9, index, byref(info), kinds=(c_int32, c_void_p)) == 0
            found[text_of(info.title)] = info
        return found

    def buses(self, media, direction):
        return self.component.call(7, media, direction, kinds=(c_int32, c_int32))

    @property
    def programs(self):
        """Number of a unit to the names of its programs."""
        units, found = self.controller.query(UNITS), {}
        for index in range(units.call(3)):
            unit = UnitInfo()
            assert units.call(4, index, byref(unit), kinds=(c_int32, c_void_p)) == 0
            for place in range(units.call(5)):
                listed = ListInfo()
                assert units.call(6, place, byref(listed), kinds=(c_int32, c_void_p)) == 0
                if listed.id == unit.programs:
                    found[unit.id] = [
                        self._program(units, listed.id, number) for number in range(listed.count)
                    ]
        units.release()
        return found

    def _program(self, units, listed, number):
        name = Text()
        assert units.call(7, listed, number, name, kinds=(c_int32, c_int32, c_void_p)) == 0
        return text_of(name)

    @property
    def takes_controllers(self):
        """Whether MIDI controllers lead to parameters."""
        mapping, number = self.controller.query(MIDI_MAPPING), c_uint32()
        if mapping is None:
            return False
        kinds = (c_int32, c_int16, c_int16, c_void_p)
        return mapping.call(3, 0, 0, 7, byref(number), kinds=kinds) == 0

    @property
    def latency(self):
        return self.processor.call(6, result=c_uint32)

    def play(self, audio, **points):
        """What comes out in time with the mixture, and what the plug-in told of its parameters.

        Points are a parameter's title to (frame, value from 0 to 1).
        """
        setup = Setup(OFFLINE, 0, self.block, self.rate)
        assert self.processor.call(7, byref(setup), kinds=(c_void_p,)) == 0
        assert self.component.call(11, 1, kinds=(c_uint8,)) == 0
        assert self.processor.call(8, 1, kinds=(c_uint8,)) == 0
        late, numbers = self.latency, {name: info.id for name, info in self.parameters.items()}
        tape = np.pad(audio, ((0, 0), (0, late)))
        parts, told = [], {}
        for start in range(0, tape.shape[1], self.block):
            block = tape[:, start : start + self.block]
            due = {
                numbers[name]: [
                    (at - start, value) for at, value in listed if 0 <= at - start < block.shape[1]
                ]
                for name, listed in points.items()
            }
            queues = [queue(number, inside) for number, inside in due.items() if inside]
            parts.append(self._process(block, start, queues, told))
        assert self.processor.call(8, 0, kinds=(c_uint8,)) == 0
        assert self.component.call(11, 0, kinds=(c_uint8,)) == 0
        names = {number: name for name, number in numbers.items()}
        return np.concatenate(parts, 1)[:, late:], {names[key]: told[key] for key in told}

    def _process(self, block, position, queues, told):
        out = np.empty((2, CHANNELS, block.shape[1]), np.float32)
        given, taken = changes(queues), changes([], told)
        context = Context(state=PLAYING, rate=self.rate, project=position)
        block = np.ascontiguousarray(block)
        inputs = (Buses * 1)(_bus(block))
        outputs = (Buses * 2)(*map(_bus, out))
        data = Data(
            OFFLINE, 0, block.shape[1], 1, 2, inputs, outputs, given.pointer, taken.pointer,
            None, None, ctypes.pointer(context),
        )  # fmt: skip
        assert self.processor.call(9, byref(data), kinds=(c_void_p,)) == 0
        return out[0]


def _bus(channels):
    rows = (POINTER(c_float) * CHANNELS)(
        *(channel.ctypes.data_as(POINTER(c_float)) for channel in channels)
    )
    return Buses(CHANNELS, 0, rows)
