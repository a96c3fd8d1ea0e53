"""The editor in a host's window, on a display without a screen: typed into, resized, looked at."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from plugin_bridge.plugin import bundles
from plugin_bridge.protocol.messages import Change
from plugin_bridge.protocol.server_side import Block

pytestmark = pytest.mark.slow
ImageGrab = pytest.importorskip("PIL.ImageGrab")
#: As editor.cpp draws them, in a window of this size.
SIZE = (620, 350)
PROMPT, NAME, MODEL, MODE_MIX = (200, 115), (500, 169), (590, 321), (285, 262)
FIRST_SLOT, SECOND_SLOT, THIRD_SLOT = (55, 46), (130, 46), (200, 46)
#: Beside all fields.
GROUND = (610, 340)
ACCENT, PANEL, BACKGROUND = (88, 166, 214), (42, 45, 51), (28, 30, 34)


@pytest.fixture
def display(monkeypatch):
    """An X display of the test's own: its name."""
    for program in ("Xvfb", "xdotool", "jalv.gtk3", "pkg-config"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here (Debian: xvfb, xdotool, jalv, pkg-config)")
    ours, theirs = os.pipe()
    command = ["Xvfb", "-displayfd", str(theirs), "-screen", "0", "1400x900x24", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[theirs], stderr=subprocess.DEVNULL)
    os.close(theirs)
    with os.fdopen(ours) as told:
        name = f":{told.readline().strip()}"
    monkeypatch.setenv("DISPLAY", name)
    yield name
    server.terminate()
    server.wait(60)


@pytest.fixture
def asked(fake, monkeypatch):
    """What the server is asked to separate, in order: lists of (text, whether not to be heard)."""
    heard = []

    def listen(server, link, protocol):
        for event in server.events(link, protocol):
            if isinstance(event, Block):
                silence = np.zeros((2, *event.audio.shape), np.float32)
                link.sendall(protocol.send_audio(event.stream, event.sequence, silence, False))
            elif isinstance(event.message, Change) and event.message.queries:
                heard.append([(query.text, query.negative) for query in event.message.queries])

    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(fake(listen, rows=2).address))
    return heard


class Window:
    """The host's window with the editor in it; places are those of a window of its first size."""

    def __init__(self, display):
        self._display = display
        (self.host,) = self.find("--name", "AudioSep")[-1:]
        self.scale = 1

    def find(self, *what):
        done = subprocess.run(["xdotool", "search", *what], capture_output=True, text=True)
        return done.stdout.split()

    def do(self, *words):
        subprocess.run(["xdotool", *map(str, words)], check=True, capture_output=True)

    def click(self, place):
        x, y = (round(self.scale * at) for at in place)
        self.do("mousemove", "--window", self.host, x, y, "click", 1)

    def type(self, text):
        """Keys of the keyboard, one after the other."""
        self.do("type", "--delay", 1, text)

    def key(self, *names):
        self.do("key", "--delay", 1, *names)

    def resize(self, scale):
        width, height = (round(scale * side) for side in SIZE)
        self.do("windowsize", "--sync", self.host, width, height)
        self.scale = scale

    def colour(self, place):
        """Of the picture at a place: (red, green, blue)."""
        shown = self.picture()
        return shown.getpixel(tuple(round(self.scale * at) for at in place))

    def picture(self):
        done = subprocess.run(
            ["xdotool", "getwindowgeometry", "--shell", self.host],
            capture_output=True,
            text=True,
            check=True,
        )
        told = dict(line.split("=") for line in done.stdout.split())
        x, y, wide, high = (int(told[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))
        screen = ImageGrab.grab(xdisplay=self._display)
        return screen.crop((x, y, x + wide, y + high))


@pytest.fixture
def window(display, edited, home, sound_server, asked, monkeypatch, wait_until, tmp_path):
    """jalv with the plug-in, whose window has the keyboard."""
    monkeypatch.setenv("JACK_DEFAULT_SERVER", sound_server)
    bundles._replace(edited / "audiosep.lv2", bundles.BUNDLES[2].location())
    command = ["jalv.gtk3", "--no-menu", "--jack-name", "host", "urn:audiosep:plugin"]
    with (tmp_path / "jalv.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def shown():
            assert running.poll() is None, (tmp_path / "jalv.log").read_text()
            try:
                return Window(display).colour(GROUND) == BACKGROUND
            except (ValueError, IndexError, subprocess.CalledProcessError):
                return False

        wait_until(shown)
        made = Window(display)
        made.do("windowfocus", "--sync", made.host)
        yield made
        assert running.poll() is None
    finally:
        running.terminate()
        running.wait(60)


def test_what_is_typed_is_asked_for(window, asked, wait_until):
    """Space starts transports, Delete removes tracks, letters choose tools: not here."""
    window.click(PROMPT)
    window.type("the  Hi-Hat, 1 to 8!")
    # Where the pointer is does not matter.
    window.do("mousemove", 1300, 850)
    window.key("Home", "Delete", "Delete", "Delete", "space", "End", "BackSpace", "Return")
    wait_until(lambda: asked[-1:] == [[("   Hi-Hat, 1 to 8", False)]])
    window.key("Tab")
    window.type("rain")
    window.key("ctrl+a", "ctrl+c", "End", "space", "ctrl+v")
    expected = [("   Hi-Hat, 1 to 8", False), ("rain rain", True)]
    # While it waits for the clipboard it takes no keys.
    wait_until(lambda: window.key("Return") or asked[-1:] == [expected])


def test_another_slot_takes_what_was_typed_along(window, asked, wait_until):
    window.click(PROMPT)
    window.type("hum")
    window.click(THIRD_SLOT)
    window.click(PROMPT)
    window.type("dog")
    window.key("Return")
    wait_until(lambda: asked[-1:] == [[("dog", False)]])
    window.click(FIRST_SLOT)
    wait_until(lambda: asked[-1:] == [[("hum", False)]])


def test_it_is_resized_with_its_window(window, asked, wait_until):
    """Everything grows, and is found where it is drawn."""
    drawn = {FIRST_SLOT: ACCENT, SECOND_SLOT: PANEL, MODE_MIX: ACCENT, MODEL: PANEL}
    drawn |= {GROUND: BACKGROUND}

    def as_drawn():
        return all(window.colour(place) == colour for place, colour in drawn.items())

    for scale in (1.5, 2, 1, 1.5):
        window.resize(scale)
        wait_until(as_drawn)
    window.click(SECOND_SLOT)
    drawn |= {FIRST_SLOT: PANEL, SECOND_SLOT: ACCENT}
    wait_until(as_drawn)
    window.click(NAME)
    window.type("left")
    window.click(PROMPT)
    window.type("wind")
    window.key("Return")
    wait_until(lambda: asked[-1:] == [[("wind", False)]])


def test_it_shows_the_slot_that_midi_has_chosen(window, sound_server, wait_until):
    import jack

    keyboard = jack.Client("keyboard", servername=sound_server)
    keys = keyboard.midi_outports.register("keys")

    @keyboard.set_process_callback
    def play(frames):
        keys.clear_buffer()
        keys.write_midi_event(frames // 2, b"\xc0\x01")

    with keyboard:
        keyboard.connect(keys, "host:midi")
        wait_until(lambda: window.colour(SECOND_SLOT) == ACCENT)
    assert window.colour(FIRST_SLOT) == PANEL
