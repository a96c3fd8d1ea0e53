"""What is said where an optional package is missing, and what is not taken for that."""

import subprocess
import sys

import pytest

from audiosep_core.errors import MissingPackageError
from audiosep_core.extras import install_command, is_there, needed_for


def missing(name):
    return pytest.raises(MissingPackageError, match=f"this needs the package '{name}'.*audiosep")


def test_a_package_of_others_that_is_missing():
    with missing("no_such_package"), needed_for("this", "export"):
        import no_such_package  # noqa: F401


def test_a_folder_of_its_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_there("only_a_folder")
    with missing("only_a_folder"), needed_for("this", "export"):
        import only_a_folder.part  # noqa: F401
    sys.modules.pop("only_a_folder", None)


@pytest.mark.parametrize("name", ["audiosep_core.no_such_module", "numpy.no_such_module"])
def test_a_fault_inside_a_package_is_no_missing_extra(name):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needed_for("this", "export"):
        __import__(name)


def test_a_part_of_python_that_is_missing_is_no_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(ModuleNotFoundError, match="sqlite3"), needed_for("this", "export"):
        import sqlite3  # noqa: F401


def test_the_runtime_is_added_where_there_is_none(monkeypatch):
    assert install_command("train") == "pip install 'audiosep[train]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert install_command("train") == "pip install 'audiosep[cpu,train]'"
    assert install_command("cpu") == "pip install 'audiosep[cpu]'"


@pytest.mark.parametrize("name", ["audiosep_core", "plugin_bridge"])
def test_public_names_are_shown_before_they_are_imported(name):
    code = (
        f"import sys, {name} as package; names = dir(package)\n"
        "assert set(package.__all__) <= set(names)\n"
        "assert not {'onnxruntime', 'scipy', 'numpy'} & set(sys.modules)\n"
        f"from {name} import *\n"
        "assert all(name in globals() for name in package.__all__)\n"
        "assert not hasattr(package, 'no_such_name')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
