"""Shared fixtures: a private cache folder, reference values, and a bundle with random weights."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audiosep_core.commands import main


def _reference_folder() -> Path | None:
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "reference"
        if folder.is_dir():
            return folder
    return None


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["AUDIOSEP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def separator():
    from audiosep_core import Separator

    return Separator(device="cpu", threads=2)


def _reference(name: str) -> Path:
    folder = _reference_folder()
    if folder is None:
        pytest.skip("the reference values (shared/reference) are not beside this checkout")
    return folder / name


@pytest.fixture(scope="session")
def reference_keys() -> dict[str, list[int]]:
    return json.loads(_reference("official_keys.json").read_text())


@pytest.fixture(scope="session")
def reference_forward() -> dict[str, np.ndarray]:
    with np.load(_reference("official_forward.npz")) as file:
        return dict(file)


@pytest.fixture(scope="session")
def reference_metrics() -> list[dict[str, float]]:
    return json.loads(_reference("metrics.json").read_text())


@pytest.fixture
def audiosep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["audiosep", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
