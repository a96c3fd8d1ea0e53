"""The page, served by the command, and a browser that drives it."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from audiosep_core.demo import demo_sources


@pytest.fixture(scope="session")
def desk_root(tmp_path_factory):
    """Where the desk keeps what it makes."""
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def desk_address(tmp_path_factory, desk_root):
    """``audiosep desk`` in a process of its own."""
    pytest.importorskip("gradio")
    code = "from plugin_bridge.commands.desk import command; command()"
    log = (tmp_path_factory.mktemp("desk") / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "TMPDIR": str(desk_root)},
    )
    assert process.stdout
    said = process.stdout.readline()
    if not said.startswith("ready on http://127.0.0.1:"):
        process.kill()
        log.seek(0)
        raise AssertionError(said + log.read())
    yield said.split()[-1]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory):
    """The mixture that ships as a 24-bit file at its own rate."""
    import soundfile

    sources, rate = demo_sources()
    path = tmp_path_factory.mktemp("sound") / "two ducks.wav"
    soundfile.write(path, sum(sources.values()).T[: 4 * rate], rate, "PCM_24")
    return path


@pytest.fixture
def long_file(tmp_path):
    """Noise that takes much longer to separate than a tab takes to close."""
    import soundfile

    path = tmp_path / "long.flac"
    noise = np.random.default_rng(0).standard_normal(600 * 16_000) * 0.1
    soundfile.write(path, noise, 16_000)
    return path


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium; what it asks for anywhere is in its log."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--window-size=1200,1800",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()
