"""The plug-in's state as pedalboard saves it, and what load_vst3 refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core.errors import UsageError
from plugin_bridge import load_vst3
from plugin_bridge.plugin.state import _encode, texts_of, with_texts

PARTS = [
    *("__dpf_state_begin__", "prompt1", "", "negative1", "", "__dpf_state_end__"),
    *("__dpf_parameters_begin__", "mix", "100", "__dpf_parameters_end__"),
]


def saved(parts):
    inner = _encode("\0".join([*parts, ""]).encode() + b"\xfe\0")
    xml = f"<VST3PluginState><IComponent>{inner}</IComponent></VST3PluginState>".encode() + b"\0"
    return b"VC2!" + (len(xml) - 1).to_bytes(4, "little") + xml


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_texts_come_back(prompt):
    state = with_texts(saved(PARTS), {"prompt1": prompt})
    assert texts_of(state) == {"prompt1": prompt, "negative1": ""}
    assert int.from_bytes(state[4:8], "little") == len(state) - 9


def test_a_known_value_of_the_encoding():
    """Six bits a character, lowest first."""
    assert _encode(b"A") == "1.AA"
    assert _encode(b"\x01\x00\x00") == "3.A..."


@pytest.mark.parametrize("state", [b"", b"VC2!1234<IComponent>0.</IComponent>"])
def test_another_plugins_state_is_refused(state):
    with pytest.raises(UsageError, match="state of"):
        with_texts(state, {"prompt1": "drums"})


def test_an_unknown_text_is_refused():
    with pytest.raises(UsageError, match="no text called 'prompt9'"):
        with_texts(saved(PARTS), {"prompt9": "drums"})


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        (" ", "the prompt is empty"),
        ("x" * 513, "at most 512 characters"),
        ("drums", "run 'audiosep plugin install'"),
    ],
)
def test_misuse_ends_in_a_sentence(prompt, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        load_vst3(prompt, path=tmp_path / "audiosep.vst3")
