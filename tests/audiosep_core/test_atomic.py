"""Files appear under their names only when they are whole."""

import os
import subprocess
import sys

import pytest

from audiosep_core.atomic import Partial, cut_name, replacing, replacing_folder


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), replacing(target) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_so_is_a_folder(tmp_path):
    target = tmp_path / "set"
    for name in ("one", "two"):
        with replacing_folder(target) as partial:
            (partial / name).write_text(name)
        assert names(target) == [name]
    with pytest.raises(ValueError), replacing_folder(target) as partial:
        (partial / "three").write_text("half")
        raise ValueError
    assert (names(tmp_path), names(target)) == (["set"], ["two"])


@pytest.mark.skipif(os.name == "nt", reason="has other locks")
def test_what_a_killed_process_left_goes_and_what_is_at_work_stays(tmp_path):
    target = tmp_path / "a.txt"
    code = (
        "import os, pathlib; from audiosep_core.atomic import Partial\n"
        f"Partial(pathlib.Path({str(target)!r})).path.write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(names(tmp_path)) == 1
    first = Partial(target)
    assert len(names(tmp_path)) == 1
    second = Partial(target)
    assert first.path.exists() and second.path.exists()
    first.commit()
    second.discard()
    assert names(tmp_path) == ["a.txt"]


def test_long_names_fit(tmp_path):
    target = tmp_path / ("犬" * 85)
    with replacing(target) as partial:
        partial.write_text("x")
    assert target.read_text() == "x"
    assert cut_name("é" * 4, 5) == "éé"


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="something else"):
        Partial(tmp_path / "folder")
