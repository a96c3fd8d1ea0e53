"""What the JSON of control frames says, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_bridge.protocol import messages
from plugin_bridge.protocol.messages import (
    Change,
    Failure,
    Hello,
    Listed,
    Listing,
    MessageError,
    ModelMessage,
    Open,
    Opened,
    QueryMessage,
    Statistics,
    WindowMessage,
)
from plugin_bridge.protocol.wire import Type

JSON_TEXT = st.text(max_size=20)
QUERIES = st.lists(
    st.builds(
        QueryMessage,
        JSON_TEXT,
        st.floats(-100, 60),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=4,
)
WINDOW = st.builds(WindowMessage, *[st.floats(0, 100)] * 3)
WHOLE = st.integers(0, (1 << 53) - 1)
MESSAGES = st.one_of(
    st.builds(Hello, st.lists(WHOLE, max_size=4), JSON_TEXT, JSON_TEXT),
    st.builds(
        Open,
        WHOLE,
        WHOLE,
        WHOLE,
        QUERIES,
        mode=JSON_TEXT | WINDOW,
        contract=st.sampled_from(["realtime", "render"]),
        remainder_db=st.none() | st.floats(-200, 60),
        slack=st.none() | WHOLE,
    ),
    st.builds(Change, WHOLE, st.none() | QUERIES, mode=st.none() | JSON_TEXT | WINDOW),
    st.builds(Opened, WHOLE, WHOLE, WHOLE, WHOLE, JSON_TEXT),
    st.builds(Failure, JSON_TEXT, JSON_TEXT, st.booleans()),
    st.builds(Listing, JSON_TEXT),
    st.builds(
        Listed,
        st.lists(st.builds(ModelMessage, JSON_TEXT, st.lists(JSON_TEXT, max_size=3)), max_size=3),
        st.lists(JSON_TEXT, max_size=3),
    ),
    st.builds(Statistics, st.sampled_from(["json", "prometheus"])),
)


@given(MESSAGES)
def test_messages_survive_the_wire(message):
    kind = messages.TYPES[type(message)]
    assert messages.decode(kind, messages.encode(message)) == message


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "OPEN.sample_rate is missing"),
        (b"[]", r"OPEN must hold fields, not \[\]"),
        (b'{"sample_rate": "48000"}', "OPEN.sample_rate must be an integer, not '48000'"),
        (b'{"sample_rate": -1}', "OPEN.sample_rate must be from 0"),
        (b'{"sample_rate": true}', "must be an integer, not True"),
        (b'{"queries": "drums"}', "OPEN.queries must be a list, not 'drums'"),
        (b'{"queries": [{"gain_db": 1}]}', r"OPEN.queries\[0\].text is missing"),
        (b'{"queries": [{"text": "a", "gain_db": 1e999}]}', "gain_db must be a finite number"),
        (b'{"strength": NaN}', "NaN is no number of JSON"),
        (b'{"contract": "soon"}', "must be one of realtime, render"),
        (b'{"contract": []}', "must be one of"),
        (b'{"mode": {"hop": 1}}', "OPEN.mode.context is missing"),
        (b'{"queries": ["\xff"]}', "not UTF-8 at byte 14"),
        (b"{", "no JSON"),
        (b'{"a":' * 60_000 + b"1" + b"}" * 60_000, "nested too deeply"),
        (b'{"sample_rate": 1' + b"0" * 5000 + b"}", "no JSON"),
    ],
)
def test_a_payload_that_says_nothing_sensible_is_named(payload, says):
    with pytest.raises(MessageError, match=says):
        messages.decode(Type.OPEN, payload)


def test_unknown_fields_are_ignored():
    assert messages.decode(Type.CHANGE, b'{"position": 3, "colour": "red"}') == Change(3)
