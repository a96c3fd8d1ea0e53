"""Fetching released models from a loopback server that speaks the hub's endpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

import huggingface_hub.file_download

from audiosep_core.model import downloads
from audiosep_core.model.downloads import RELEASED_MODELS, DownloadError, RemoteFile, download

CONTENT = bytes(range(256)) * 4096


class Hub(http.server.ThreadingHTTPServer):
    """Serves ``files`` (path in the URL to content) as the hub does: a redirect to a CDN."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        #: Bytes after which each answer breaks off, one number for each answer.
        self.breaks: list[int] = []
        #: (method, path, Range header) of every request.
        self.requests: list[tuple[str, str, str | None]] = []
        self.tells_hash = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def offer(self, file: RemoteFile, content: bytes) -> None:
        prefix = "/spaces/" if file.kind == "space" else "/"
        self.files[f"{prefix}{file.repository}/resolve/{file.revision}/{file.path}"] = content

    def downloads(self) -> list[str | None]:
        return [wanted for method, _, wanted in self.requests if method == "GET"]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        assert "Authorization" not in self.headers
        content = self.server.files.get(self.path.removeprefix("/cdn"))
        if content is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/cdn"):
            self._send(content)
        else:
            self.send_response(302)
            # Another host name, as the CDN has: the hub's client treats it differently.
            cdn = f"http://localhost:{self.server.server_port}/cdn"
            self.send_header("Location", f"{cdn}{self.path}")
            self.send_header("X-Repo-Commit", "0" * 40)
            digest = hashlib.sha256(content).hexdigest() if self.server.tells_hash else "v1"
            self.send_header("X-Linked-ETag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes) -> None:
        start = 0
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks:
            self.wfile.write(rest[: self.server.breaks.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(rest)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("AUDIOSEP_CACHE", str(tmp_path / "cache"))
        # What is read at a time is all that a break costs; the library's 10 MB would hide it here.
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
        # Its pauses between attempts are for real networks.
        monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
        yield server
        server.shutdown()
        thread.join()


def remote(content: bytes = CONTENT, **changes: str) -> RemoteFile:
    file = RemoteFile("Owner/Repo", "folder/model.ckpt", "1" * 40, "", "space")
    return dataclasses.replace(file, sha256=hashlib.sha256(content).hexdigest(), **changes)


def leftovers(file: RemoteFile) -> list[str]:
    return sorted(path.name for path in file.local.parent.iterdir())


def test_a_whole_download_and_then_none(hub: Hub) -> None:
    file = remote()
    hub.offer(file, CONTENT)
    assert download([file])[0].read_bytes() == CONTENT
    assert leftovers(file) == ["model.ckpt"]
    hub.requests.clear()
    assert download([file]) == [file.local]
    assert hub.requests == []


def test_models_and_spaces_lie_at_different_places(hub: Hub) -> None:
    for kind in ("model", "space"):
        file = remote(repository=f"Owner/{kind}", kind=kind)
        hub.offer(file, CONTENT)
        assert download([file])[0].read_bytes() == CONTENT


def test_a_short_break_goes_on_within_one_call(hub: Hub) -> None:
    file = remote()
    hub.offer(file, CONTENT)
    hub.breaks = [300_000, 200_000]
    assert download([file])[0].read_bytes() == CONTENT
    assert hub.downloads() == [None, "bytes=300000-", "bytes=500000-"]


def test_a_long_break_is_told_and_the_next_call_succeeds(hub: Hub) -> None:
    file = remote()
    hub.offer(file, CONTENT)
    hub.breaks = [300_000] + [0] * 20
    with pytest.raises(DownloadError, match=r"model\.ckpt cannot be downloaded from http://127"):
        download([file])
    assert not file.local.exists()
    hub.breaks = []
    assert download([file])[0].read_bytes() == CONTENT
    assert leftovers(file) == ["model.ckpt"]


def test_a_wrong_hash_that_is_announced_costs_no_download(hub: Hub) -> None:
    file = remote()
    hub.offer(file, b"another" + CONTENT)
    with pytest.raises(DownloadError, match="now holds another file"):
        download([file])
    assert hub.downloads() == []
    assert not file.local.exists()


def test_a_wrong_hash_that_is_not_announced(hub: Hub) -> None:
    file = remote()
    hub.tells_hash = False
    hub.offer(file, b"another" + CONTENT)
    with pytest.raises(DownloadError, match="is not the file that was published"):
        download([file])
    assert leftovers(file) == []


def test_without_network_the_error_says_what_to_place_where(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        # Bound but not listening: the port refuses.
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        files = [remote(), remote(path="vocab.json")]
        with pytest.raises(DownloadError, match="cannot be downloaded") as caught:
            download(files)
    for file in files:
        assert f"{file.local} (SHA-256 {file.sha256})" in str(caught.value)
        file.local.parent.mkdir(parents=True, exist_ok=True)
        file.local.write_bytes(CONTENT)
    assert download(files) == [file.local for file in files]


def test_the_library_is_only_needed_for_a_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    file = remote()
    with pytest.raises(Exception, match=r"pip install 'audiosep\[export\]'"):
        download([file])
    file.local.parent.mkdir(parents=True)
    file.local.write_bytes(CONTENT)
    assert download([file]) == [file.local]


def test_a_wrong_file_placed_by_hand_is_refused(hub: Hub) -> None:
    file = remote()
    file.local.parent.mkdir(parents=True)
    file.local.write_bytes(b"something else")
    with pytest.raises(DownloadError, match="remove it"):
        download([file])


def test_a_missing_file_on_the_hub(hub: Hub) -> None:
    with pytest.raises(DownloadError, match="404"):
        download([remote()])


def test_a_full_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    file = remote()
    hub.offer(file, CONTENT)
    usage = downloads.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="make room"):
        download([file])
    assert hub.downloads() == []


def test_the_published_files_are_pinned() -> None:
    files = [source.checkpoint for source in RELEASED_MODELS.values()]
    files += [downloads.CLAP, downloads.VOCABULARY, downloads.MERGES]
    for file in files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert len(bytes.fromhex(file.revision)) == 20
    assert len({file.local for file in files}) == len(files)


def test_an_unknown_model(hub: Hub, audiosep) -> None:
    code, _, err = audiosep("models", "fetch", "audiosep-huge")
    assert code == 2
    assert "known: audiosep-base, audiosep-hive" in err


def test_nothing_is_converted_without_the_files(hub: Hub, audiosep, tmp_path: Path) -> None:
    code, _, err = audiosep("models", "fetch", "audiosep-base")
    assert code == 1
    assert err.startswith("Error: audiosep_base_4M_steps.ckpt cannot be downloaded")
    assert f"{tmp_path}/cache/downloads/AudioSep/audiosep_base_4M_steps.ckpt" in err
    assert f"{tmp_path}/cache/downloads/roberta-base/vocab.json" in err
    assert not (tmp_path / "cache" / "models").exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_text", [True, False])
def test_fetch_convert_and_use_offline(
    hub: Hub, audiosep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_text: bool
) -> None:
    """A tiny release with the layout of the real one, all the way to a separation."""
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import numpy as np
    import tokenizers
    import transformers

    from audiosep_core import Separator
    from audiosep_core.model.config import CONFIGS, SeparatorConfig
    from audiosep_core.model.network import build_network

    config = SeparatorConfig(
        name="tiny", n_fft=128, hop_length=32, widths=(2,) * 6, sample_rate=1000
    )
    monkeypatch.setitem(CONFIGS, "tiny", config)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"]
    torch.manual_seed(0)
    state = {
        f"ss_model.{name}": value for name, value in build_network("tiny").state_dict().items()
    }
    text_config = transformers.ClapTextConfig(
        vocab_size=len(words), hidden_size=48, num_hidden_layers=1, intermediate_size=64
    )
    text = {
        name.replace("text_model.", "text_branch.")
        .replace("text_projection.linear1", "text_projection.0")
        .replace("text_projection.linear2", "text_projection.2"): value
        for name, value in transformers.ClapTextModelWithProjection(text_config)
        .state_dict()
        .items()
    }

    def publish(file: RemoteFile, content: bytes) -> RemoteFile:
        file = dataclasses.replace(file, sha256=hashlib.sha256(content).hexdigest())
        hub.offer(file, content)
        return file

    def saved(content: object) -> bytes:
        torch.save(content, tmp_path / "file")
        return (tmp_path / "file").read_bytes()

    own = {f"query_encoder.model.{name}": value for name, value in text.items()}
    checkpoint = {"state_dict": state | own if with_text else state, "epoch": 3}
    source = RELEASED_MODELS["audiosep-hive"]
    source = dataclasses.replace(
        source, checkpoint=publish(source.checkpoint, saved(checkpoint)), config="tiny"
    )
    monkeypatch.setitem(RELEASED_MODELS, "audiosep-hive", source)
    laion = {
        "state_dict": {f"module.{name}": value for name, value in text.items()},
        "best": np.float64(0.9),
    }
    import audiosep_export.commands.models_fetch

    for name, content in {
        "CLAP": saved(laion),
        "VOCABULARY": json.dumps({word: place for place, word in enumerate(words)}).encode(),
        "MERGES": b"#version: 0.2\n",
    }.items():
        monkeypatch.setattr(
            audiosep_export.commands.models_fetch, name, publish(getattr(downloads, name), content)
        )

    code, out, err = audiosep("models", "fetch", "audiosep-hive")
    assert code == 0, err
    assert "audiosep-hive is ready" in out
    assert audiosep_export.commands.models_fetch.CLAP.local.exists() == (not with_text)

    hub.requests.clear()
    assert audiosep("models", "fetch", "audiosep-hive")[0] == 0
    noise = 0.1 * np.random.default_rng(0).standard_normal(3000)
    separator = Separator("audiosep-hive", device="cpu")
    stems = separator.separate(noise, 1000, ["an unheard-of sound"])
    assert np.abs(sum(stems.values()) - noise).max() <= 1e-6
    assert separator.bundle.licence == "Apache-2.0 AND CC0-1.0 AND MIT"
    assert hub.requests == []
