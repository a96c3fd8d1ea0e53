"""Reading checkpoints that others made."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from audiosep_core.model.checkpoint import CheckpointError, read_checkpoint, text_weights


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_numbers_of_every_numpy_are_read(tmp_path: Path, module: bytes) -> None:
    """laion-clap stores its best scores as NumPy numbers, pickled by NumPy 1."""
    content = {"best": np.float64(0.5), "step": np.int64(3), "state_dict": {"x": torch.ones(2)}}
    torch.save(content, tmp_path / "own.pt")
    with (
        zipfile.ZipFile(tmp_path / "own.pt") as source,
        zipfile.ZipFile(tmp_path / "other.pt", "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core.multiarray", module))
    found = read_checkpoint(tmp_path / "other.pt")
    assert (found["best"], found["step"]) == (0.5, 3)
    assert torch.equal(found["state_dict"]["x"], torch.ones(2))


def test_a_truncated_checkpoint(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1000)}, tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    for length in (0, 10, len(content) // 2):
        (tmp_path / "part.pt").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"part\.pt"):
            read_checkpoint(tmp_path / "part.pt")


def test_what_is_no_text_branch_is_left_out() -> None:
    state = {"text_branch.x": torch.ones(1), "text_branch.y": 3, "my_text_branch.z": torch.ones(1)}
    assert set(text_weights(state)) == {"text_branch.x"}
