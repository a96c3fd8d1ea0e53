"""The last of the mixture, which is sent again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plugin_bridge.client.history import History


@given(st.integers(1, 20), st.lists(st.integers(0, 30) | st.none(), max_size=20))
def test_the_last_frames_are_there_and_in_order(frames: int, blocks: list[int | None]) -> None:
    history, pushed = History(2, frames), np.zeros((2, 0), np.float32)
    for count in blocks:
        if count is None:
            history.clear()
            pushed = pushed[:, :0]
            continue
        block = np.arange(2 * count, dtype=np.float32).reshape(2, count) + 100 * pushed.shape[1]
        history.push(block)
        pushed = np.concatenate([pushed, block], 1)
        assert len(history) >= min(frames + count, pushed.shape[1])
        for wanted in (0, len(history) // 2, len(history)):
            expected = pushed[:, pushed.shape[1] - wanted :]
            np.testing.assert_array_equal(history.last(wanted), expected)
            for ago in (1, len(history) // 3, len(history) - wanted):
                if wanted + ago <= len(history):
                    end = pushed.shape[1] - ago
                    before = pushed[:, end - wanted : end]
                    np.testing.assert_array_equal(history.last(wanted, ago), before)
