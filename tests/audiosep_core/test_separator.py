"""Separation of arrays: layouts, rates, null, chunking, and no PyTorch at run time."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core import QueryError, Separator, Settings
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stream import SeparationStream
from audiosep_core.signal.windows import Windows, offline_windows

QUERIES = ["a person speaking", "acoustic guitar"]


def music(rng, channels, frames):
    """Noise bursts and tones: something for every band, never silent for long."""
    envelope = np.repeat(10 ** rng.uniform(-2, 0, frames // 2000 + 1), 2000)[:frames]
    tone = np.sin(np.arange(frames) * rng.uniform(0.01, 1))
    noise = rng.standard_normal((channels, frames))
    return (0.2 * envelope * (tone + 0.5 * noise)).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 32000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_stems_and_residual_sum_to_the_mixture(separator, rng, sample_rate, channels):
    mixture = music(rng, channels, sample_rate * 3 // 2 + 17)
    stems = separator.separate(mixture, sample_rate, QUERIES)
    assert list(stems) == [*QUERIES, "residual"]
    assert all(stem.shape == mixture.shape and stem.dtype == np.float32 for stem in stems.values())
    assert np.abs(sum(stems.values()) - mixture).max() <= 1e-6
    one = separator.separate(mixture, sample_rate, QUERIES[:1])
    assert np.abs(one[QUERIES[0]] + one.residual - mixture).max() <= 1e-6
    assert np.abs(one[QUERIES[0]]).max() > 1e-4


def test_mono_keeps_its_rank_and_float64_becomes_float32(separator, rng):
    mixture = music(rng, 1, 30_000)[0].astype(np.float64)
    stems = separator.separate(mixture, 44100, "drums")
    assert stems["drums"].shape == (30_000,)
    assert stems.residual.dtype == np.float32


def test_equal_channels_stay_equal_and_the_image_is_kept(separator, rng):
    mono = music(rng, 1, 60_000)
    panned = np.concatenate([mono, 0.25 * mono])
    stem = separator.separate(panned, 48000, "drums")["drums"]
    assert np.abs(stem[1] - 0.25 * stem[0]).max() < 1e-5


def test_opposite_channels_do_not_cancel(separator, rng):
    mono = music(rng, 1, 60_000)
    same = separator.separate(np.concatenate([mono, mono]), 32000, "drums")["drums"]
    opposite = separator.separate(np.concatenate([mono, -mono]), 32000, "drums")["drums"]
    assert np.abs(opposite[0] - same[0]).max() < 1e-5


def test_silence_in_silence_out(separator):
    stems = separator.separate(np.zeros((2, 70_000), np.float32), 48000, QUERIES)
    assert all(not stem.any() for stem in stems.values())


@settings(max_examples=15, deadline=None)
@given(
    frames=st.integers(1, 40_000),
    sample_rate=st.sampled_from([16000, 32000, 44100, 48000, 88200]),
    channels=st.integers(1, 3),
)
def test_any_length(separator, frames, sample_rate, channels):
    channels = min(channels, frames)
    mixture = music(np.random.default_rng(frames), channels, frames)
    stems = separator.separate(mixture, sample_rate, ["drums"])
    assert stems["drums"].shape == mixture.shape
    assert np.abs(sum(stems.values()) - mixture).max() <= 1e-6


def test_sound_above_the_model_band_follows_the_top_octave(separator, rng):
    frames = 96_000
    high = np.sin(np.arange(frames) * 2 * np.pi * 30_000 / 96_000).astype(np.float32)[None] * 0.3
    mixture = music(rng, 1, frames) + high
    stems = separator.separate(mixture, 96_000, ["drums"])
    middle = slice(frames // 4, 3 * frames // 4)
    reference = np.abs(np.vdot(high[0, middle], high[0, middle]))
    shares = [np.vdot(stem[0, middle], high[0, middle]) / reference for stem in stems.values()]
    assert sum(shares) == pytest.approx(1, abs=0.02)
    assert all(-0.05 <= share <= 1.05 for share in shares)


def run(separator, mixture, blocks, windows):
    selection = Selection.plain(separator.encoder.embed(["drums"]))
    stream = SeparationStream(separator.estimator, selection, 32000, len(mixture), windows)
    parts, position, turn = [], 0, 0
    while position < mixture.shape[1]:
        size = blocks[turn % len(blocks)]
        parts.append(stream.push(mixture[:, position : position + size]))
        position, turn = position + size, turn + 1
    return np.concatenate([*parts, stream.finish()], -1)


def test_output_does_not_depend_on_chunks(windowed, rng):
    mixture = music(rng, 1, 32_000 * 12)
    default = offline_windows(windowed.bundle.config, windowed.bundle.context_seconds)
    whole = run(windowed, mixture, [mixture.shape[1]], Windows(100_000, 0, 0))
    for hop in (32, 64, 96):
        windows = Windows(hop, default.context, default.look_ahead)
        cut = run(windowed, mixture, [4321, 17, 50_000], windows)
        assert np.abs(cut - whole).max() <= 1e-4


def test_overlapping_queries_share_the_mixture(separator, rng):
    mixture = music(rng, 2, 60_000)
    queries = ["ducks quacking", "a duck", "quack of a duck", "a bird"]
    shared = separator.separate(mixture, 48000, queries)
    plain = separator.separate(mixture, 48000, Settings(queries, plain_masks=True))
    assert np.square(shared.residual).mean() <= np.square(mixture).mean()
    alone = separator.separate(mixture, 48000, queries[0])
    np.testing.assert_allclose(plain[queries[0]], alone[queries[0]], atol=1e-5)
    for stems in (shared, plain):
        np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-5)


def test_a_query_spelled_in_two_ways_is_given_twice(separator, rng):
    with pytest.raises(QueryError, match="given twice"):
        separator.separate(music(rng, 1, 4000), 48000, ["Drums.", "drums"])


def test_copies_and_pickles_separate_alike(separator, rng):
    mixture = music(rng, 1, 4000)
    expected = separator.separate(mixture, 48000, "drums")["drums"]
    for other in (
        copy.copy(separator),
        copy.deepcopy(separator),
        pickle.loads(pickle.dumps(separator)),
    ):
        assert np.array_equal(other.separate(mixture, 48000, "drums")["drums"], expected)


@pytest.mark.parametrize(
    "audio, error, message",
    [
        (np.zeros((2, 100), np.int16), TypeError, "floating point"),
        (np.zeros((0,), np.float32), ValueError, "empty"),
        (np.zeros((2, 0), np.float32), ValueError, "empty"),
        (np.zeros((1, 2, 3), np.float32), ValueError, r"must be \(channels, frames\)"),
        (np.zeros((100, 2), np.float32), ValueError, "transpose"),
        (np.array([0, np.nan], np.float32), ValueError, "NaN"),
        (np.array([0, np.inf], np.float32), ValueError, "NaN or infinite"),
    ],
)
def test_impossible_audio(separator, audio, error, message):
    with pytest.raises(error, match=message):
        separator.separate(audio, 48000, "drums")


@pytest.mark.parametrize("sample_rate", [0, -1, 44100.5, float("nan"), 10**9])
def test_impossible_sample_rates(separator, sample_rate):
    with pytest.raises(ValueError, match="sample_rate"):
        separator.separate(np.ones(100, np.float32), sample_rate, "drums")


@pytest.mark.parametrize(
    "queries, message",
    [
        ([], "no query"),
        (["  "], "empty"),
        (["x" * 600], "characters"),
        (["drums", " drums "], "twice"),
        (["residual"], "left over"),
        ([3], "string"),
    ],
)
def test_impossible_queries(separator, queries, message):
    with pytest.raises(QueryError, match=message):
        separator.separate(np.ones(100, np.float32), 48000, queries)


def test_unknown_model_and_device():
    from audiosep_core.errors import DeviceError, UnknownModelError

    with pytest.raises(UnknownModelError, match=r"installed: .*mini"):
        Separator("no-such-model")
    with pytest.raises(ValueError, match="device must be"):
        Separator(device="abacus")
    with pytest.raises(DeviceError, match="cpu"):
        Separator(device="cuda")


def test_no_torch_on_the_runtime_path():
    code = (
        "import sys, numpy as np; from audiosep_core import Separator;"
        "Separator().separate(np.ones(9000, np.float32), 48000, ['some query that is in no pack']);"
        "assert not {'torch', 'onnx', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("query", ["drums\n", "a  dog  barking", "cafe\u0301 noise", " Rain! "])
def test_a_stem_is_found_by_the_query_as_it_was_given(separator, rng, query):
    stems = separator.separate(0.1 * rng.standard_normal((2, 8000)), 32000, [query])
    assert stems[query] is stems[next(iter(stems))]
    assert stems[query.upper()] is stems[query] and query in stems
    with pytest.raises(KeyError):
        stems["something else"]


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_that_nobody_scaled_are_refused(separator, rng, bits):
    audio = 0.3 * rng.standard_normal((2, 8000)).clip(-3, 3) * 2.0 ** (bits - 1)
    with pytest.raises(
        ValueError, match=rf"look like {bits}-bit integers; divide by 2\*\*{bits - 1}"
    ):
        separator.separate(audio, 32000, "drums")
