"""The musicians' page does what it says, with the figures that it shows."""

import os
import re
import subprocess
import sys

import pytest

from plugin_bridge.plugin import bundles

pytestmark = pytest.mark.slow
pytest.importorskip("pedalboard")
PAGE = (bundles.SOURCE / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
SNIPPETS = re.findall(r"^```python\n(.*?)^```(?:\n\n```\n(.*?)^```)?", PAGE, re.M | re.S)


@pytest.mark.parametrize(("snippet", "said"), SNIPPETS)
def test_a_snippet_says_what_the_page_says(built, home, address, monkeypatch, snippet, said):
    bundles._replace(built / "audiosep.vst3", bundles.BUNDLES[0].location())
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))
    done = subprocess.run(
        [sys.executable, "-c", snippet], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for printed, shown in zip(done.stdout.splitlines(), said.splitlines(), strict=True):
        assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
        # One more in the last place is another processor's rounding.
        figures = [[float(number) for number in NUMBER.findall(line)] for line in (printed, shown)]
        assert figures[0] == pytest.approx(figures[1], abs=0.1)


def test_figures_are_shown():
    assert any("SDRi" in said for _, said in SNIPPETS)


def test_links_and_pictures_are_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (bundles.SOURCE / target).exists(), target
