"""Levels of spectrograms against scipy's, and in bounded memory."""

import numpy as np
import pytest
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from audiosep_core.files.spectrogram import compute_spectrogram, draw_sheet, save_strips

RATE = 8000


def test_levels_are_those_of_a_short_time_transform(rng):
    audio = rng.standard_normal((2, 20_000)).astype(np.float32)
    blocks = [audio[:, at : at + 777] for at in range(0, 20_000, 777)]
    levels = compute_spectrogram(blocks, 20_000, RATE)
    transform = ShortTimeFFT(hann(320, sym=False), 80, RATE)
    power = np.abs(transform.stft(audio.mean(0)))[:, -transform.p_min :][:, :250] ** 2
    assert levels.decibels.shape == (161, 250) and levels.seconds == 2.5
    assert np.abs(levels.decibels - 10 * np.log10(power + 1e-12)).max() < 0.1


def test_long_sounds_have_as_many_columns_as_a_picture_needs():
    block = np.ones((1, 8000), np.float32)
    levels = compute_spectrogram((block for _ in range(600)), 8000 * 600, RATE)
    assert 1000 < levels.decibels.shape[1] <= 2000
    assert levels.times[-1] <= 600 and np.isfinite(levels.decibels).all()


def test_strips_have_no_margins(tmp_path, rng):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    audio = rng.standard_normal((1, 8000)).astype(np.float32)
    path = tmp_path / "a.png"
    save_strips([(path, compute_spectrogram([audio], 8000, RATE))])
    picture = imread(path)[..., :3]
    # Noise fills it to the edges: no white row or column.
    assert (picture.min(-1) < 0.99).mean() > 0.95
    assert (picture[:, 0].min(-1) < 0.99).any() and (picture[:, -1].min(-1) < 0.99).any()


def test_an_octave_is_as_high_as_any_other():
    pytest.importorskip("matplotlib")
    seconds = np.arange(2 * RATE) / RATE
    for hertz in (250, 500, 1000, 2000):
        tone = np.sin(2 * np.pi * hertz * seconds, dtype=np.float32)[None]
        (axis, *_) = draw_sheet([("tone", compute_spectrogram([tone], tone.shape[1], RATE))]).axes
        (image,) = axis.images
        low, high = image.get_extent()[2:]
        drawn = image.get_array()[:, 50]
        loudest = low + (np.argmax(drawn) + 0.5) / len(drawn) * (high - low)
        # A bin is 25 Hz wide: at 250 Hz, a seventh of an octave.
        assert loudest == pytest.approx(np.log2(hertz / 1000), abs=0.08)
