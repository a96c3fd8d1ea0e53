"""A stream that goes on with what another one remembers gives what that one does."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.selection import Selection
from audiosep_core.signal.snapshot import Snapshot
from audiosep_core.signal.stepped_stream import SteppedStream

MODEL, OTHER = "ab" * 32, "cd" * 32
LENGTH = 60_000


@pytest.fixture(scope="module")
def conditions():
    return np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def mixture():
    noise = np.random.default_rng(1).standard_normal((2, LENGTH))
    # The level of the start is not that of the rest: to go on is to know it.
    return (noise * np.geomspace(1, 1e-2, LENGTH)).astype(np.float32)


def played(stream, mixture, changes, begin):
    """What comes of the mixture from a sample on, on its own time line."""
    position = begin
    parts = []
    for at, selection in [*changes, (mixture.shape[1], None)]:
        if at >= begin:
            parts.append(stream.push(mixture[:, position:at]))
            position = at
            if selection is not None:
                stream.select(selection, at - begin)
    return np.concatenate([*parts, stream.finish()], -1)


@settings(max_examples=20)
@given(
    taken=st.integers(12_000, 50_000),
    origin=st.integers(0, 5_000),
    changed=st.lists(st.integers(1, LENGTH - 1), max_size=3),
    rate=st.sampled_from([22_050, 44_100, 48_000]),
    call=st.sampled_from([0, 8]),
)
def test_to_the_bit(step_network, conditions, mixture, taken, origin, changed, rate, call):
    def stream(selection, begin):
        return SteppedStream(step_network, selection, rate, 2, call_frames=call, origin=begin)

    step = step_network.config.step_frames * step_network.config.hop_length(rate)
    taken -= (origin + taken) % step
    selections = [Selection.plain(conditions[[row, 3]]) for row in (0, 1, 2, 0)]
    changes = list(zip(sorted(changed), selections[1:], strict=False))
    first = stream(selections[0], origin)
    position, snapshot = 0, None
    parts = []
    for at, selection in sorted([*changes, (taken, None), (LENGTH, None)], key=lambda c: c[0]):
        parts.append(first.push(mixture[:, position:at]))
        position = at
        if selection is not None:
            first.select(selection, at)
        elif at == taken:
            snapshot = first.snapshot(origin)
    whole = np.concatenate([*parts, first.finish()], -1)
    assert origin <= snapshot.origin < snapshot.position <= origin + taken
    again = Snapshot.decode(snapshot.encode(MODEL), MODEL)
    begin = again.origin - origin
    held = [selection for at, selection in changes if at <= begin]
    second = stream(held[-1] if held else selections[0], again.origin)
    second.resume(again)
    rest = played(second, mixture, changes, begin)
    behind = again.position - origin
    np.testing.assert_array_equal(rest[..., behind - begin :], whole[..., behind:])


def test_there_is_none_before_it_could_be_used(step_network, conditions, mixture):
    stream = SteppedStream(step_network, Selection.plain(conditions[:1]), 48_000, 2)
    assert stream.snapshot(0) is None
    stream.push(mixture[:, :2_000])
    assert stream.snapshot(0) is None


@pytest.fixture(scope="module")
def snapshot(step_network, conditions, mixture):
    stream = SteppedStream(step_network, Selection.plain(conditions[:2]), 48_000, 2)
    stream.push(mixture[:, :51_200])
    return stream.snapshot(0)


def test_bytes_begin_with_origin_and_position(snapshot):
    data = snapshot.encode(MODEL)
    assert struct.unpack_from("<QQ", data) == (snapshot.origin, snapshot.position)


def test_of_another_model(snapshot):
    with pytest.raises(ValueError, match="another model"):
        Snapshot.decode(snapshot.encode(MODEL), OTHER)


def test_of_another_rate_or_another_network(step_network, conditions, snapshot):
    other = SteppedStream(step_network, Selection.plain(conditions[:2]), 96_000, 2)
    with pytest.raises(ValueError, match="another rate"):
        other.resume(snapshot)
    same = SteppedStream(step_network, Selection.plain(conditions[:2]), 48_000, 2)
    with pytest.raises(ValueError, match="another rate"):
        same.resume(dataclasses.replace(snapshot, position=snapshot.origin - 1))
    with pytest.raises(ValueError, match="values a query"):
        same.resume(dataclasses.replace(snapshot, memory=snapshot.memory[:, 1:]))


@settings(max_examples=50)
@given(data=st.data())
def test_what_is_damaged_is_refused(snapshot, data):
    whole = snapshot.encode(MODEL)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError):
        Snapshot.decode(whole[:cut], MODEL)
    broken = bytearray(whole)
    broken[-4:] = struct.pack("<f", data.draw(st.sampled_from([np.nan, np.inf, -np.inf])))
    with pytest.raises(ValueError, match="damaged"):
        Snapshot.decode(bytes(broken), MODEL)
