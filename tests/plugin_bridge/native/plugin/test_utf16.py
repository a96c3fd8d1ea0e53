"""Texts on their way between a VST3's editor and the plug-in."""

import shutil
import subprocess

import pytest

from plugin_bridge.plugin import bundles

PROGRAM = """
#include "utf16.hpp"
#include <iostream>
#include <iterator>
#include <vector>

int main() {
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    std::vector<int16_t> units(text.size());
    const size_t count = audiosep::to_utf16(units.data(), text.c_str(), units.size());
    std::cout << count << ' ' << audiosep::to_utf8(units.data(), count);
}
"""


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory):
    """Number of UTF-16 units of some bytes, and the bytes that come back."""
    if shutil.which("g++") is None:
        pytest.skip("the plug-in needs g++ (Debian: g++)")
    program = tmp_path_factory.mktemp("utf16") / "program"
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    command += ["-I", bundles.SOURCE, "-x", "c++", "-", "-o", program]
    subprocess.run(command, input=PROGRAM, text=True, check=True)

    def run(data):
        done = subprocess.run([program], input=data, capture_output=True, check=True)
        count, _, back = done.stdout.partition(b" ")
        return int(count), back

    return run


@pytest.mark.parametrize("text", ["drums", "café", "日本語", "🥁 drums", "\ud7ff\ue000\U0010ffff"])
def test_a_text_arrives_as_it_is(there_and_back, text):
    data = text.encode()
    assert there_and_back(data) == (len(text.encode("utf-16-le")) // 2, data)


@pytest.mark.parametrize("data", [b"a\xff", b"a\xc3", b"a\xe2\x82", b"a\xf4\x90\x80\x80"])
def test_what_is_no_utf8_becomes_a_mark(there_and_back, data):
    assert there_and_back(data) == (2, "a\ufffd".encode())
