"""Lists of files: what they may hold, and where the stems of each go."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core.errors import AudioPathError
from audiosep_core.files.catalogue import plan, read_paths


def test_a_list_is_read_line_by_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa/ö ne.wav\r\n\n# a comment\n   \n/b/two.wav".encode())
    assert read_paths(path) == [Path("a/ö ne.wav"), Path("/b/two.wav")]


def test_a_list_may_come_from_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one.wav\n")))
    assert read_paths(Path("-")) == [Path("one.wav")]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\n# nothing\n", "lists no file"),
        (b"a.wav\n\xff\xfe.wav\n", "line 2: not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_list_is_refused(tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioPathError, match=message):
        read_paths(path)


def test_listed_files_keep_their_paths(tmp_path, monkeypatch):
    (tmp_path / "work/album/disc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    soundfile.write("album/disc/deep.wav", [0.0], 8000)
    listed = [Path("x/a.wav"), Path("y/a.wav"), Path("/z/a.wav"), Path("../a.wav"), Path("album")]
    outside = tmp_path.relative_to(tmp_path.anchor)
    assert [job.folder for job in plan([], Path("out"), listed).jobs] == [
        Path("out/x/a"),
        Path("out/y/a"),
        Path("out/z/a"),
        Path("out") / outside / "a",
        Path("out/album/disc/deep"),
    ]


names = st.text("ab", min_size=1, max_size=2)


@given(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=12))
def test_a_file_that_is_listed_twice_is_one_job(paths):
    listed = [Path(f"{path}.wav") for path in paths]
    planned = plan([], Path("out"), listed)
    jobs = [*planned.jobs, *planned.refused]
    assert [job.source for job in jobs] == list(dict.fromkeys(listed))
    assert len({job.folder for job in jobs}) == len(jobs)
