"""Commands of other packages: shown without being imported, true about what is missing."""

import importlib.metadata
import subprocess
import sys

import click
import pytest

from audiosep_core.commands import lazy
from audiosep_core.commands.lazy import ENTRY_POINTS, registered_commands


@pytest.fixture
def register(monkeypatch, tmp_path):
    """Make a module with a table of commands, and an entry point for it."""
    monkeypatch.syspath_prepend(tmp_path)
    lazy.registered_commands.cache_clear()

    def add(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        point = importlib.metadata.EntryPoint(name, f"{name}:COMMANDS", ENTRY_POINTS)
        monkeypatch.setattr(lazy.metadata, "entry_points", lambda group: [point])

    yield add
    lazy.registered_commands.cache_clear()


def test_every_registered_command_is_there():
    commands = registered_commands()
    assert {"serve", "export", "train", "corpus", "models fetch", "bench network"} <= set(commands)
    for place in commands.values():
        assert isinstance(importlib.import_module(place.module).command, click.Command)


def test_help_imports_no_command():
    code = (
        "import sys\nfrom audiosep_core.commands import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "cli.main(['bench', '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'lightning', 'scipy', 'numpy', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Train a separator." in done.stdout and "Speed of live streams." in done.stdout


def test_as_a_module():
    command = [sys.executable, "-m", "audiosep_core", "models", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: audiosep models") and "fetch" in done.stdout


def test_folders_of_a_user_do_no_harm(tmp_path):
    for name in ("training", "export", "commands", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a module of the user')")
    for arguments in (["train", "--configs"], ["export", "--help"]):
        command = [sys.executable, "-m", "audiosep_core", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


TABLE = """
from audiosep_core.commands.lazy import LazyCommand
COMMANDS = {{"models {name}": LazyCommand({module!r}, "Of another package.", "export")}}
"""
COMMAND = "import click\n@click.command()\ndef command(): click.echo('it ran')\n"


def test_a_command_of_another_package(register, audiosep, tmp_path):
    (tmp_path / "theirs.py").write_text(COMMAND)
    register("theirs_table", TABLE.format(name="theirs", module="theirs"))
    code, out, _ = audiosep("models", "--help")
    assert code == 0 and "theirs  Of another package." in out
    assert audiosep("models", "theirs") == (0, "it ran\n", "")


def test_what_is_missing_is_named(register, audiosep, tmp_path):
    (tmp_path / "lacking.py").write_text("import no_such_package\n")
    register("lacking_table", TABLE.format(name="lacking", module="lacking"))
    code, out, err = audiosep("models", "lacking")
    assert (code, out) == (2, "")
    assert err == (
        "Error: 'audiosep models lacking' needs the package 'no_such_package', which is not "
        "installed; run: pip install 'audiosep[export]'\n"
    )


def test_a_fault_inside_a_command_is_not_taken_for_a_missing_extra(register, audiosep, tmp_path):
    (tmp_path / "faulty.py").write_text("import audiosep_core.no_such_module\n")
    register("faulty_table", TABLE.format(name="faulty", module="faulty"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        audiosep("models", "faulty")


def test_a_broken_package_leaves_the_others_alone(register, audiosep):
    register("broken_table", "raise RuntimeError('broken on purpose')")
    code, out, err = audiosep("models", "--help")
    assert code == 0 and "info" in out
    assert err == "Warning: the commands of broken_table:COMMANDS are missing: broken on purpose\n"
