"""Program changes choose a prompt: as MIDI in CLAP and LV2, as a flagged parameter in VST3."""

import numpy as np
import pytest

from plugin_bridge.plugin import bundles
from tests.plugin_bridge.native.plugin import vst3_host
from tests.plugin_bridge.native.plugin.clap_host import Midi, program_change

pytestmark = pytest.mark.slow
RATE = 48_000
WORDS = {"prompt1": "Drum kit", "prompt3": "Speech", "prompt8": "Dog", "name8": "the dog"}
#: Inside blocks of 512 frames.
AT, BACK = 20_123, 50_001


@pytest.fixture(autouse=True)
def reach(monkeypatch, address):
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))


@pytest.fixture
def expected(separated, music):
    """A mixture, and what is heard of it where slot 3 is chosen and slot 1 again."""
    audio = music(2, 2 * RATE)
    out = separated(audio, changes=[(AT, "Speech"), (BACK, "Drum kit")])
    # The slots are told apart.
    assert not np.allclose(out, separated(audio), atol=1e-3)
    return audio, out


def test_midi_chooses_a_prompt_to_the_frame_in_clap(clap, expected):
    audio, out = expected
    host = clap()
    host.tell(**WORDS)
    assert host.render(offline=True)
    host.start()
    events = [program_change(AT, 2, channel=5), program_change(BACK, 0)]
    np.testing.assert_allclose(host.play(audio, events), out, atol=1e-6)


def test_the_host_hears_of_the_prompt_and_saves_it(clap):
    host = clap()
    host.tell(**WORDS)
    host.start()
    host.process(np.zeros((2, 512), np.float32), 0, [program_change(7, 7)])
    assert host.value("Prompt") == 8
    assert host.told[-1] == (host.names["Prompt"], 8)
    again = clap()
    again.load(host.save())
    assert again.value("Prompt") == 8


def test_slots_are_shown_by_name_in_clap(clap):
    host = clap()
    host.tell(**WORDS)
    texts = [host.text("Prompt", slot) for slot in (1, 2, 8)]
    assert texts == ["1 Drum kit", "2 Prompt 2", "8 the dog"]
    assert host.note_ports == 1


@pytest.mark.parametrize("data", [(0xC0, 8), (0xC0, 127), (0xB0, 2), (0x90, 2), (0xD0, 2)])
def test_other_midi_chooses_nothing(clap, data):
    host = clap()
    host.tell(**WORDS)
    host.start()
    event = program_change(0, 0)
    event.data = type(event.data)(*data, 64)
    assert isinstance(event, Midi)
    host.process(np.zeros((2, 512), np.float32), 0, [program_change(0, 4)])
    host.process(np.zeros((2, 512), np.float32), 512, [event])
    assert host.value("Prompt") == 5


@pytest.fixture
def vst3(built, home):
    bundle = bundles.BUNDLES[0]
    host = vst3_host.Vst3Host(bundle.shared_object(built / bundle.name))
    yield host
    host.close()


def test_a_program_chooses_a_prompt_to_the_frame_in_vst3(vst3, expected):
    audio, out = expected
    vst3.tell(**WORDS)
    heard, told = vst3.play(audio, Program=[(AT, 2 / 7), (BACK, 0)])
    np.testing.assert_allclose(heard, out, atol=1e-6)
    assert [round(7 * value) for _, value in told["Prompt"]] == [2, 0]


def test_automation_of_the_prompt_is_to_the_frame_in_vst3(vst3, expected):
    """A step is two points of one frame: the latter holds."""
    audio, out = expected
    vst3.tell(**WORDS)
    steps = [(0, 0), (AT, 0), (AT, 2 / 7), (BACK, 2 / 7), (BACK, 0)]
    np.testing.assert_allclose(vst3.play(audio, Prompt=steps)[0], out, atol=1e-6)


def test_vst3_hosts_see_one_list_of_programs_and_no_controllers(vst3):
    vst3.tell(**WORDS)
    parameters = vst3.parameters
    assert len(parameters) < 20
    flagged = [name for name, info in parameters.items() if info.flags & vst3_host.PROGRAM_CHANGE]
    assert flagged == ["Program"]
    assert parameters["Program"].flags & vst3_host.HIDDEN
    assert parameters["Program"].steps == parameters["Prompt"].steps == 7
    prompt = parameters["Prompt"].flags
    assert prompt & vst3_host.CAN_AUTOMATE and not prompt & vst3_host.HIDDEN
    assert vst3.buses(vst3_host.EVENT, vst3_host.INPUT) == 1
    assert vst3.programs == {
        parameters["Program"].unit: [
            "Drum kit",
            "Prompt 2",
            "Speech",
            *(f"Prompt {slot}" for slot in range(4, 8)),
            "the dog",
        ]
    }
    assert not vst3.takes_controllers
