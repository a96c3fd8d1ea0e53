"""HARP's own sequence of requests: controls, an upload, process, the file that comes back."""

import json
import uuid
from urllib.request import Request, urlopen

import pytest
import soundfile

from audiosep_core import Separator
from audiosep_core.files.catalogue import Job
from audiosep_core.files.job import SeparationOptions, separate_file
from audiosep_core.settings import Query, Settings

pytestmark = pytest.mark.slow


def call(address, name, data):
    """Post to a named endpoint and read its events, as HARP does: (event, data)."""
    return answer(begin(address, name, data))


def begin(address, name, data):
    """Post to a named endpoint; gives where its events are read."""
    body = json.dumps({"data": data}).encode()
    url = f"{address}gradio_api/call/{name}"
    request = Request(url, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as response:
        event = json.load(response)["event_id"]
    return f"{url}/{event}"


def answer(events):
    """The last event, and what it holds."""
    with urlopen(events, timeout=120) as response:
        lines = response.read().decode().strip().splitlines()
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def upload(address, path):
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n'
    body = head.encode() + b"Content-Type: audio/wav\r\n\r\n" + path.read_bytes()
    body += f"\r\n--{mark}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    with urlopen(Request(f"{address}gradio_api/upload", body, kind), timeout=60) as response:
        (place,) = json.load(response)
    return {"path": place, "meta": {"_type": "gradio.FileData"}}


def test_the_controls_are_those_of_pyharp(desk_address):
    event, (told,) = call(desk_address, "controls", [])
    assert event == "complete" and list(told) == ["card", "inputs", "outputs"]
    assert set(told["card"]) == {"name", "description", "author", "tags"}
    kinds = [control["type"] for control in told["inputs"]]
    assert kinds == ["audio_track", "text_box", "text_box", "slider", "dropdown"]
    assert [control["type"] for control in told["outputs"]] == ["audio_track"]
    for control in [*told["inputs"], *told["outputs"]]:
        assert control["label"] and control["info"]


@pytest.mark.parametrize(("output", "stem"), [("target", 0), ("residual", -1)])
def test_a_region_is_processed(desk_address, demo_file, tmp_path, output, stem):
    sent = upload(desk_address, demo_file)
    event, (file,) = call(
        desk_address, "process", [sent, "ducks quacking", "hand drums", 1.5, output]
    )
    assert event == "complete" and file["meta"]["_type"] == "gradio.FileData"
    with urlopen(file["url"], timeout=60) as response:
        got = response.read()
    settings = Settings(["ducks quacking", Query("hand drums", negative=True)], 1.5)
    offline = separate_file(
        Separator(),
        Job(demo_file, tmp_path / "offline"),
        SeparationOptions(settings, with_residual=True),
    )
    assert got == offline.stems[stem].path.read_bytes()
    assert soundfile.info(offline.stems[stem].path).subtype == "PCM_24"


def test_what_runs_is_cancelled(desk_address, desk_root, demo_file, long_file, wait_until):
    before = set(desk_root.rglob("desk-*"))
    sent = upload(desk_address, long_file)
    running = begin(desk_address, "process", [sent, "rain", "", 1, "target"])
    wait_until(lambda: set(desk_root.rglob("*.part")))
    (folder,) = set(desk_root.rglob("desk-*")) - before
    assert call(desk_address, "cancel", [])[0] == "complete"
    # Nothing of it is left, which would be there had it come to its end, and the next is served.
    wait_until(lambda: not folder.exists())
    assert answer(running)[0] == "error"
    sent = upload(desk_address, demo_file)
    assert call(desk_address, "process", [sent, "rain", "", 1, "target"])[0] == "complete"


def test_what_cannot_be_processed_is_an_error_event(desk_address, demo_file):
    for prompt in ("", "a " * 5000):
        sent = upload(desk_address, demo_file)
        event, _ = call(desk_address, "process", [sent, prompt, "", 1, "target"])
        assert event == "error"
    assert call(desk_address, "controls", [])[0] == "complete"


def test_gradios_own_client(desk_address, demo_file):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(desk_address, verbose=False, analytics_enabled=False)
    file = gradio_client.handle_file(str(demo_file))
    got = client.predict(file, "hand drums", "", 1.0, "target", api_name="/process")
    assert soundfile.info(got).frames == soundfile.info(demo_file).frames
    client.predict(api_name="/cancel")
