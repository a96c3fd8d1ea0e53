"""Clips of every kind become mono examples of one length, or are refused with a reason."""

import io

import numpy as np
import pytest
import soundfile

from audiosep_core.errors import AudioFileError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_training.data.clips import ClipFormat, cut_clip, unusable_clips

FORMAT = ClipFormat(32_000, 16_000, 3_200)


def cut(path, seed=0, format=FORMAT):
    with AudioReader(path) as reader:
        return cut_clip(reader, format, np.random.default_rng(seed))


def test_random_pieces_of_long_clips(tmp_path):
    ramp = np.arange(64_000, dtype=np.float32) / 64_000
    soundfile.write(tmp_path / "a.wav", ramp, 32_000, "FLOAT")
    starts = set()
    for seed in range(20):
        piece = cut(tmp_path / "a.wav", seed)
        start = round(float(piece[0]) * 64_000)
        assert np.array_equal(piece, ramp[start : start + 16_000])
        starts.add(start)
    assert len(starts) > 15 and max(starts) <= 48_000


def test_short_clips_are_followed_by_silence(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(4_000, 0.5), 32_000, "FLOAT")
    piece = cut(tmp_path / "a.wav")
    assert (piece[:4_000] == 0.5).all() and not piece[4_000:].any() and len(piece) == 16_000


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path, rate):
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", tone, rate, "FLOAT")
    piece = cut(tmp_path / "a.wav")
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(16_000)))
    assert spectrum.argmax() * 2 == 1000 and piece.std() == pytest.approx(0.5**0.5, rel=0.02)


def test_eight_channels_are_averaged(tmp_path):
    rng = np.random.default_rng(0)
    audio = rng.uniform(-0.5, 0.5, (16_000, 8)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 32_000, "FLOAT")
    assert np.allclose(cut(tmp_path / "a.wav"), audio.mean(1), atol=1e-7)


def test_files_in_memory_are_the_same(tmp_path):
    tone = 0.3 * np.sin(np.arange(40_000) * 0.05)
    for ending in ("flac", "ogg"):
        path = tmp_path / f"a.{ending}"
        soundfile.write(path, tone, 32_000)
        with AudioReader(path, path.read_bytes()) as reader:
            assert np.array_equal(
                cut_clip(reader, FORMAT, np.random.default_rng(1)), cut(path, seed=1)
            )
    content = (tmp_path / "a.ogg").read_bytes()
    for broken in (b"", content[: len(content) // 2], b"nonsense" * 100):
        with pytest.raises(AudioFileError, match=r"shard:7\.ogg"):
            AudioReader(tmp_path / "shard:7.ogg", broken)


@pytest.fixture
def bad_files(tmp_path):
    """Everything a corpus should not hold; and one good file."""
    soundfile.write(tmp_path / "good.wav", np.full(8_000, 0.1), 32_000)
    soundfile.write(tmp_path / "short.wav", np.full(3_199, 0.1), 32_000)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 32_000)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    whole = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:5_000])
    return tmp_path


def test_what_headers_tell(bad_files):
    names = ["good", "short", "nothing", "empty", "text", "cut", "missing"]
    sentences = unusable_clips([bad_files / f"{name}.wav" for name in names], FORMAT)
    assert len(sentences) == 6
    for name, sentence in zip(names[1:], sentences, strict=True):
        assert f"{name}.wav" in sentence


def test_nan_is_found_when_it_is_read(tmp_path):
    audio = np.zeros(16_000, np.float32)
    audio[9_000] = np.nan
    soundfile.write(tmp_path / "a.wav", audio, 32_000, "FLOAT")
    assert not unusable_clips([tmp_path / "a.wav"], FORMAT)
    with pytest.raises(AudioFileError, match=r"NaN or infinite samples at 0\.281 s"):
        cut(tmp_path / "a.wav")


def test_bytes_are_not_taken_for_a_path():
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(4_000), 16_000, format="FLAC")
    from pathlib import Path

    with AudioReader(Path("nowhere.flac"), buffer.getvalue()) as reader:
        assert reader.segment(3_000, 5_000).shape == (1, 1_000)
