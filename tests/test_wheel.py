"""What a wheel lays into site-packages, and what it is without its extras."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"audiosep_core", "audiosep_export", "plugin_bridge", "audiosep_training"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        yield file


def test_only_our_packages_are_in_it(wheel):
    roots = {name.partition("/")[0] for name in wheel.namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == PACKAGES


def test_all_of_them_is_in_it(wheel):
    folders = (
        "audiosep_core",
        "export/audiosep_export",
        "plugin_bridge",
        "training/audiosep_training",
    )
    listed = subprocess.run(
        ["git", "ls-files", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = {name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()}
    here = {name.removeprefix("export/").removeprefix("training/") for name in tracked}
    assert here <= set(wheel.namelist())


def test_it_needs_no_drawing_and_no_torch(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    needed = {
        requirement.name
        for requirement in map(Requirement, metadata.get_all("Requires-Dist"))
        if requirement.marker is None or requirement.marker.evaluate({"extra": "cpu"})
    }
    assert "onnxruntime" in needed
    assert not needed & {"matplotlib", "torch", "onnx", "pedalboard"}
