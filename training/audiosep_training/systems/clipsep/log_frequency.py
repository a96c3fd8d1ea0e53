"""CLIPSep's frequency axis: 256 rows, logarithmic, and back to the 513 bins of the spectrum."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ROWS = 256
#: How far the axis is bent: it is straight at 1.
_BASE = 21


def to_log_rows(x: Tensor, rows: int = ROWS) -> Tensor:
    """(batch, channels, bins, frames) to (batch, channels, rows, frames)."""
    place = torch.linspace(-1, 1, rows, dtype=torch.float64)
    half = (_BASE - 1) / 2
    return _sample(x, (_BASE ** ((place + 1) / 2) - half - 1) / half)


def to_bins(x: Tensor, bins: int) -> Tensor:
    """(batch, channels, rows, frames) to (batch, channels, bins, frames)."""
    place = torch.linspace(-1, 1, bins, dtype=torch.float64)
    half = (_BASE - 1) / 2
    return _sample(x, torch.log(half * place + half + 1) / math.log(_BASE) * 2 - 1)


def _sample(x: Tensor, rows: Tensor) -> Tensor:
    """Read ``x`` at heights in -1…1, bilinearly."""
    columns = torch.linspace(-1, 1, x.shape[-1], dtype=torch.float64)
    across, down = torch.meshgrid(columns, rows, indexing="xy")
    grid = torch.stack([across, down], -1).to(x).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, align_corners=True)
