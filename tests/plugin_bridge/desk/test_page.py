"""A browser on the page: what a person does with it, and what comes of it."""

import json
import os
import urllib.parse
from pathlib import Path

import pytest

selenium = pytest.importorskip("selenium")
from selenium.common.exceptions import ElementClickInterceptedException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from audiosep_core import Separator  # noqa: E402
from audiosep_core.files.catalogue import Job  # noqa: E402
from audiosep_core.files.job import SeparationOptions, separate_file  # noqa: E402
from audiosep_core.settings import Settings  # noqa: E402
from plugin_bridge.desk.heard import modes_of  # noqa: E402

pytestmark = pytest.mark.slow


def wait(browser, what, seconds=90):
    return WebDriverWait(browser, seconds).until(what)


def find(browser, selector):
    return wait(browser, lambda page: page.find_element(By.CSS_SELECTOR, selector))


def upload(browser, path):
    find(browser, "#sound input[type=file]").send_keys(str(path))


def span(browser, selector):
    """Left and right end of an element, in pixels."""
    box = find(browser, selector).rect
    return box["x"], box["x"] + box["width"]


def message(browser):
    """The sentence of an error that the page shows."""
    # It has no text before it has come in.
    return wait(browser, lambda page: page.find_element(By.CSS_SELECTOR, ".toast-body").text)


def asked_hosts(browser):
    """Hosts of all requests that the page made; data and blobs have none."""
    hosts = set()
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            parameters = event["params"]
            url = parameters.get("url") or parameters["request"]["url"]
            hosts.add(urllib.parse.urlsplit(url).hostname)
    return hosts - {None, "newtab", "new-tab-page"}


def separate(browser, address, path, words):
    browser.get(address)
    upload(browser, path)
    find(browser, "#sound audio, #sound .waveform-container")
    find(browser, "#queries textarea").send_keys(words)
    find(browser, "#separate").click()
    wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)


def test_a_person_takes_a_stem_home(browser, desk_address, demo_file, tmp_path):
    separate(browser, desk_address, demo_file, "ducks quacking\nhand drums")

    # Every player and picture is there, as wide as each other.
    def pictures(page):
        found = page.find_elements(By.CSS_SELECTOR, ".picture img")
        seen = [one for one in found if one.is_displayed()]
        # One that has not come in yet has no width of its own.
        return len(seen) == 4 and all(int(one.get_attribute("naturalWidth")) for one in seen)

    wait(browser, pictures)
    rows = [("mixture", "mixture-picture")]
    rows += [(f"stem-{place}", f"picture-{place}") for place in range(3)]
    for player, picture in rows:
        assert span(browser, f"#{picture} img") == span(browser, f"#{player} #waveform")
    # The mixture's is in sight whichever stem is looked at.
    browser.set_window_size(1200, 700)
    browser.execute_script("document.querySelector('#picture-2').scrollIntoView()")
    in_sight = "return document.querySelector('#mixture-picture').getBoundingClientRect().top"
    wait(browser, lambda page: page.execute_script(in_sight) == 0)
    browser.set_window_size(1200, 1800)
    play = find(browser, "#stem-0 button[aria-label*=Play]")
    play.click()
    wait(browser, lambda page: page.find_elements(By.CSS_SELECTOR, "#stem-0 [aria-label*=Pause]"))
    mixed = "return document.querySelector('#remix a.download-link').href"
    before = browser.execute_script(mixed)
    find(browser, "#mute-0 input").click()
    wait(browser, lambda page: page.execute_script(mixed) != before)
    find(browser, "#download-0").click()
    home = tmp_path / "ducks-quacking.wav"
    wait(browser, lambda page: home.exists() and home.stat().st_size)
    recipe = SeparationOptions(Settings(["ducks quacking", "hand drums"]), with_residual=True)
    offline = separate_file(Separator(), Job(demo_file, tmp_path / "offline"), recipe)
    assert home.read_bytes() == offline.stems[0].path.read_bytes()
    assert asked_hosts(browser) == {"127.0.0.1"}


@pytest.mark.parametrize("number", range(3))
def test_examples_work(browser, desk_address, number):
    browser.set_window_size(1200, 1500)
    browser.get(desk_address)
    find(browser, "#demo button")
    browser.find_elements(By.CSS_SELECTOR, "#demo button")[number].click()
    wait(browser, lambda page: find(page, "#queries textarea").get_property("value"))
    find(browser, "#sound audio, #sound .waveform-container")
    find(browser, "#separate").click()
    wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)
    # What the README shows.
    if place := os.environ.get("AUDIOSEP_SCREENSHOT"):
        lengths = "return [...document.querySelectorAll('#remix time')].pop()?.textContent"
        wait(browser, lambda page: page.execute_script(lengths) == "0:06")
        browser.save_screenshot(str(Path(place).with_stem(f"{Path(place).stem}-{number}")))


def test_a_narrow_window(browser, desk_address):
    browser.set_window_size(500, 900)
    browser.get(desk_address)
    find(browser, "#demo button").click()
    wait(browser, lambda page: "ducks" in find(page, "#queries textarea").get_property("value"))
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wide) <= 0
    for place in ("queries", "separate", "sound"):
        box = find(browser, f"#{place}").rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= 500


def test_the_keyboard_alone(browser, desk_address):
    browser.get(desk_address)
    find(browser, "#demo button")

    def tab_to(name):
        inside = f"return document.activeElement.closest('#{name}') !== null"
        for _ in range(90):
            if browser.execute_script(inside):
                return browser.switch_to.active_element
            browser.switch_to.active_element.send_keys(Keys.TAB)
        raise AssertionError(f"the tabulator does not come to {name}")

    tab_to("demo").send_keys(Keys.ENTER)
    wait(browser, lambda page: "ducks" in find(page, "#queries textarea").get_property("value"))
    tab_to("separate").send_keys(Keys.ENTER)
    wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)
    mixed = "return document.querySelector('#remix a.download-link')?.href"
    for name, key in (("gain-0", Keys.ARROW_DOWN), ("mute-0", Keys.SPACE)):
        before = wait(browser, lambda page: page.execute_script(mixed))
        tab_to(name).send_keys(key)
        wait(browser, lambda page, before=before: page.execute_script(mixed) != before)


def test_mistakes_are_sentences_and_the_page_lives_on(browser, desk_address, demo_file, tmp_path):
    browser.get(desk_address)
    find(browser, "#separate").click()
    assert "no query" in message(browser)
    browser.get(desk_address)
    find(browser, "#queries textarea").send_keys("rain")
    find(browser, "#separate").click()
    assert "there is no sound yet" in message(browser)
    browser.get(desk_address)
    picture = tmp_path / "cat.wav"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    upload(browser, picture)
    find(browser, "#queries textarea").send_keys("rain")
    find(browser, "#separate").click()
    assert "cat.wav is no audio file" in message(browser)
    separate(browser, desk_address, demo_file, "rain")


def begin(browser, address, path, root):
    """Begin to separate; returns the folder that the stems are being written to."""
    before = set(root.rglob("desk-*"))
    browser.get(address)
    upload(browser, path)
    find(browser, "#queries textarea").send_keys("rain")
    find(browser, "#sound audio, #sound .waveform-container")
    find(browser, "#separate").click()
    new = wait(browser, lambda page: set(root.rglob("desk-*")) - before)
    (folder,) = new
    wait(browser, lambda page: list(folder.rglob("*.part")))
    return folder


@pytest.mark.parametrize("way", ["close the tab", "press Stop"])
def test_work_that_nobody_waits_for_ends(
    browser, desk_address, desk_root, demo_file, long_file, way
):
    folder = begin(browser, desk_address, long_file, desk_root)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    other = browser.current_window_handle
    browser.switch_to.window(first)
    if way == "close the tab":
        browser.close()
    else:
        find(browser, "#stop").click()
    browser.switch_to.window(other)
    # Nothing of it is left, which would be there had it come to its end.
    wait(browser, lambda page: not folder.exists())
    separate(browser, desk_address, demo_file, "rain")


def test_two_tabs_are_served_one_after_the_other(browser, desk_address, demo_file):
    handles = [browser.current_window_handle]
    browser.switch_to.new_window("tab")
    handles.append(browser.current_window_handle)
    for handle, words in zip(handles, ("ducks quacking", "hand drums"), strict=True):
        browser.switch_to.window(handle)
        browser.get(desk_address)
        upload(browser, demo_file)
        find(browser, "#sound audio, #sound .waveform-container")
        find(browser, "#queries textarea").send_keys(words)
        find(browser, "#separate").click()
    for handle, name in zip(handles, ("ducks-quacking", "hand-drums"), strict=True):
        browser.switch_to.window(handle)
        wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)
        assert f"{name}.wav" in find(browser, "#download-0").text


def test_modes_are_offered_and_heard(browser, desk_address, demo_file):
    browser.get(desk_address)
    upload(browser, demo_file)
    find(browser, "#sound audio, #sound .waveform-container")
    find(browser, "#queries textarea").send_keys("it's raining")
    find(browser, "#more button").click()
    # What nobody filled in is no remainder, which would be the whole mixture at 0 dB.
    assert find(browser, "#remainder input, #remainder textarea").get_property("value") == ""
    find(browser, "#mode input").click()
    wait(browser, lambda page: page.find_elements(By.CSS_SELECTOR, "[role=option]"))
    offered = browser.find_elements(By.CSS_SELECTOR, "[role=option]")
    assert [option.text.strip("✓ \n") for option in offered] == modes_of(Separator())
    offered[-1].click()
    find(browser, "#separate").click()
    wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)
    said = find(browser, "#said").text
    assert f"mode {modes_of(Separator())[-1]}, on CPU" in said and "answers after" in said
    assert """audiosep listen -q 'it'"'"'s raining'""" in said


def test_the_model_for_playing_is_offered(browser, desk_address, demo_file):
    browser.get(desk_address)
    upload(browser, demo_file)
    find(browser, "#sound audio, #sound .waveform-container")
    find(browser, "#queries textarea").send_keys("hand drums")
    find(browser, "#more button").click()
    choose(browser, "model", "live")
    choose(browser, "mode", "live")
    find(browser, "#separate").click()
    wait(browser, lambda page: "separated in" in page.find_element(By.ID, "said").text)
    said = find(browser, "#said").text
    assert "by the model live, mode live, on CPU" in said
    assert "--model live --mode live" in said and "answers after 20 ms" in said


def choose(browser, name, option):
    """Pick from a list of the page."""

    def offered(page):
        choices = page.find_elements(By.CSS_SELECTOR, "[role=option]")
        return next((one for one in choices if one.text.strip("✓ \n") == option), None)

    def opened(page):
        try:
            find(page, f"#{name} input").click()
        except ElementClickInterceptedException:
            # The list is being made anew.
            return False
        return True

    wait(browser, opened)
    wait(browser, offered).click()
    wait(browser, lambda page: find(page, f"#{name} input").get_property("value") == option)
