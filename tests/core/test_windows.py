"""Offline windows: whole cells of context, bounded cost, for any context a bundle states."""

from pathlib import Path

import pytest

from audiosep_core.bundle import Bundle
from audiosep_core.config import get_config
from audiosep_core.windows import offline_windows


@pytest.mark.parametrize("name", ["audiosep-base", "mini"])
@pytest.mark.parametrize("cells", [1, 2, 3, 5, 7, 11])
def test_context_is_as_many_cells_as_the_bundle_says(name, cells):
    config = get_config(name)
    cell_seconds = config.frame_multiple * config.hop / config.sample_rate
    bundle = Bundle(Path(), config, {}, "", "", cells * cell_seconds)
    windows = offline_windows(bundle)
    assert windows.context == windows.look_ahead == cells * config.frame_multiple
    assert windows.frames % config.frame_multiple == 0
    assert windows.cost <= 1.35 + 1e-9
