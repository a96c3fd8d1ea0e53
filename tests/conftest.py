"""Shared fixtures: a private cache folder, reference values, and a bundle with random weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest


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
