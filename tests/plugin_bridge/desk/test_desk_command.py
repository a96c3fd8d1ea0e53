"""The desk's command: what it refuses, and the folder that it writes."""

import ast
import json
import os
import socket
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import click.testing
import pytest

pytest.importorskip("gradio")

from plugin_bridge.commands.desk import command


def test_sharing_has_to_be_meant():
    runner = click.testing.CliRunner()
    result = runner.invoke(command, ["--share", "yes"])
    assert "anyone may use this machine" in str(result.exception)
    assert result.exception.exit_code == 2


def test_a_space_is_three_files(tmp_path):
    runner = click.testing.CliRunner()
    folder = tmp_path / "space"
    result = runner.invoke(command, ["--write-space", str(folder)])
    assert result.exit_code == 0 and len(result.output.splitlines()) == 3
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "app.py",
        "requirements.txt",
    ]
    ast.parse((folder / "app.py").read_text())
    assert "audiosep[cpu,desk]==" in (folder / "requirements.txt").read_text()
    head = (folder / "README.md").read_text().split("---")[1]
    assert "sdk: gradio" in head and "app_file: app.py" in head
    again = runner.invoke(command, ["--write-space", str(folder)])
    assert again.exception.exit_code == 2 and "exists" in str(again.exception)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="resource limits differ")
def test_no_room_for_a_sound_is_a_sentence(tmp_path):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1));"
        "from plugin_bridge.commands.desk import command; command()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert process.stdout
        address = process.stdout.readline().split()[-1]
        head = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        # Uploads of less than a megabyte are held in memory while they come in.
        body = head.encode() + bytes(2_000_000) + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(f"{address}gradio_api/upload", body, kind), timeout=60)
        assert caught.value.code == 507
        assert b"the sound cannot be taken in: File too large; make room" in caught.value.read()
        with urlopen(f"{address}config", timeout=60) as response:
            assert response.status == 200
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_a_space_is_a_page(tmp_path):
    click.testing.CliRunner().invoke(command, ["--write-space", str(tmp_path)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    kept |= {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=tmp_path, env=kept, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        line = next(line for line in process.stdout if "Running on" in line)
        address = line.split()[-1]
        with urlopen(f"{address}/config", timeout=60) as response:
            config = json.load(response)
        named = {dependency["api_name"] for dependency in config["dependencies"]}
        assert {"controls", "process", "cancel", "separate"} <= named
        assert config["title"] == "AudioSep"
        # Where others may reach it, it does not say that nothing leaves the machine.
        assert "Nothing leaves" not in json.dumps(config)
    finally:
        process.terminate()
        process.wait(60)
