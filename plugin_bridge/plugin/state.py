"""The state that hosts of JUCE's kind, pedalboard among them, save of the VST3 plug-in.

It is a small XML text behind eight bytes (a mark and the text's length); in it lies the plug-in's
own state, texts that each end with a zero byte, in JUCE's base 64: the number of bytes, a point,
and six bits a character, lowest bits first.
"""

from __future__ import annotations

import re

from audiosep_core.errors import UsageError

_ALPHABET = ".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_COMPONENT = re.compile(rb"(<IComponent>)([^<]*)(</IComponent>)")
_HEADER_BYTES = 8
#: The state ends with a byte that no UTF-8 text has.
_MARKS = "surrogateescape"
_BEGIN, _END = "__dpf_state_begin__", "__dpf_state_end__"


def with_texts(raw_state: bytes, texts: dict[str, str]) -> bytes:
    """A state in which some texts are others.

    Args:
        raw_state: As ``pedalboard.VST3Plugin.raw_state`` gives it.
        texts: Key ("prompt1", "negative1", ...) to what it is to be.

    Raises:
        UsageError: The state is not the AudioSep plug-in's.
    """
    places, parts, found = _read(raw_state)
    for key, text in texts.items():
        if key not in places:
            raise UsageError(f"the plug-in has no text called {key!r}")
        parts[places[key]] = text.replace("\0", " ")
    encoded = _encode("\0".join(parts).encode("utf-8", _MARKS)).encode("ascii")
    xml = raw_state[_HEADER_BYTES : found.start(2)] + encoded + raw_state[found.end(2) :]
    # The text ends with a zero that is not counted.
    return raw_state[:4] + (len(xml) - 1).to_bytes(4, "little") + xml


def texts_of(raw_state: bytes) -> dict[str, str]:
    """The texts in a state: key to text.

    Raises:
        UsageError: The state is not the AudioSep plug-in's.
    """
    places, parts, _ = _read(raw_state)
    return {key: parts[place] for key, place in places.items()}


def _read(raw_state: bytes) -> tuple[dict[str, int], list[str], re.Match[bytes]]:
    """Where each text stands in the plug-in's own state, that state's parts, and where it is."""
    found = _COMPONENT.search(raw_state)
    if found is None:
        raise UsageError("this is not the state of a VST3 plug-in that pedalboard has loaded")
    parts = _decode(found[2].decode("ascii")).decode("utf-8", _MARKS).split("\0")
    if _BEGIN not in parts:
        raise UsageError("this is not the state of the AudioSep plug-in")
    places: dict[str, int] = {}
    # Only where a key stands does a mark count: a text may say anything.
    for place in range(parts.index(_BEGIN) + 1, len(parts) - 1, 2):
        if parts[place] == _END:
            return places, parts, found
        places[parts[place]] = place + 1
    raise UsageError("the state of the AudioSep plug-in is cut off")


def _decode(text: str) -> bytes:
    count, _, characters = text.partition(".")
    number = 0
    for place, character in enumerate(characters):
        number |= _VALUES[character] << 6 * place
    size = int(count)
    return (number & (1 << 8 * size) - 1).to_bytes(size, "little")


def _encode(data: bytes) -> str:
    number = int.from_bytes(data, "little")
    characters = -(-8 * len(data) // 6)
    return f"{len(data)}." + "".join(
        _ALPHABET[number >> 6 * place & 63] for place in range(characters)
    )
