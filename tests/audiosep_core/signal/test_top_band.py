"""What lies above the model's band follows the masks, frame by frame and at the right frame."""

import numpy as np
import pytest

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stream import SeparationStream
from audiosep_core.signal.top_band import TopBand
from audiosep_core.signal.windows import Windows

RATE, HOP = 32_000, 320


@pytest.mark.parametrize("sizes", [(7000,), (1, 319, 320, 1111)])
def test_gains_are_interpolated_between_the_frames_they_belong_to(sizes):
    band = TopBand(1, 1 / 100)
    band.push(np.arange(40, dtype=np.float32)[None])
    gains, turn = [], 0
    while sum(map(len, gains)) < 3800:
        gains.append(band.gains(min(sizes[turn % len(sizes)], 3800 - sum(map(len, gains))))[0])
        turn += 1
    np.testing.assert_allclose(np.concatenate(gains), np.arange(3800) / 100, atol=1e-4)


class Opening:
    """Masks that are closed before a frame and open from it on."""

    def __init__(self, config, frame):
        self.config, self._frame, self._seen = config, frame, 0

    def masks(self, magnitude, conditions):
        masks = np.zeros((len(conditions), 3, *magnitude.shape), np.float32)
        frames = self._seen + np.arange(len(magnitude))
        self._seen += len(magnitude)
        masks[:, 0] = (frames >= self._frame)[:, None]
        masks[:, 1] = 1
        return masks


@pytest.mark.parametrize("factor", [2, 3])
def test_the_top_band_opens_with_the_masks(factor):
    """A tone above the band: its level rises from one frame's centre to the next one's."""
    config = SeparatorConfig(
        name="toy", sample_rate=RATE, n_fft=1024, hop_length=HOP, widths=(1,) * 6
    )
    frame, rate = 70, factor * RATE
    stream = SeparationStream(
        Opening(config, frame),
        Selection.plain(np.zeros((1, 2), np.float32)),
        rate,
        1,
        Windows(32, 0, 0),
    )
    time = np.arange(2 * frame * HOP * factor) / rate
    tone = np.sin(2 * np.pi * 0.45 * rate * time).astype(np.float32)[None]
    # Something in the band, for silence is not asked about.
    low = 0.1 * np.sin(2 * np.pi * 1000 * time).astype(np.float32)[None]
    out = np.concatenate([stream.push(tone + low), stream.finish()], -1)[0]
    # In time with the tone: its level, free of what is in the band.
    level = np.convolve((out * tone)[0], np.ones(80) / 40, "same")
    hop = HOP * factor
    centre = frame * hop
    assert level[centre - hop - 80] < 0.03
    assert level[centre - hop // 2] == pytest.approx(0.5, abs=0.03)
    assert level[centre + 80] > 0.97
