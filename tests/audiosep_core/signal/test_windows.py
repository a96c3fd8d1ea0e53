"""Offline windows: whole cells of context, bounded cost, for any context a bundle states."""

import pytest

from audiosep_core.model.config import get_config
from audiosep_core.signal.windows import offline_windows


@pytest.mark.parametrize("name", ["audiosep-base", "mini-windowed"])
@pytest.mark.parametrize("cells", [1, 2, 3, 5, 7, 11])
def test_context_is_as_many_cells_as_the_bundle_says(name, cells):
    config = get_config(name)
    cell_seconds = config.frame_multiple * config.hop_length / config.sample_rate
    windows = offline_windows(config, cells * cell_seconds)
    assert windows.context == windows.look_ahead == cells * config.frame_multiple
    assert windows.frames % config.frame_multiple == 0
    assert windows.cost <= 1.35 + 1e-9
