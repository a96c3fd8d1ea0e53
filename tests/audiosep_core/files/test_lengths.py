"""All that lies in a file is read, whatever its header says of the length."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.errors import AudioFileError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.chunks import read_chunked

RATE = 48000
FRAMES = 30_000


def noise(frames=FRAMES, channels=2, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((frames, channels))


def encoded(format, subtype, audio=None, rate=RATE, **kinds):
    file = io.BytesIO()
    soundfile.write(
        file, noise() if audio is None else audio, rate, format=format, subtype=subtype, **kinds
    )
    return file.getvalue()


def read(content, **kinds):
    """The audio as (frames, channels), and the remark on the file."""
    with AudioReader(Path("x"), content, **kinds) as reader:
        blocks = list(reader.blocks(4096))
        audio = np.concatenate(blocks, axis=1).T
        assert reader.frames == len(audio)
        return audio, reader.note


def chunk(name, data, code="<"):
    return name + struct.pack(code + "I", len(data)) + data + bytes(len(data) % 2)


def wav(data_size=None, riff_size=None, after=b"", pcm=None, magic=b"RIFF"):
    pcm = (noise() * 32767).astype("<i2").tobytes() if pcm is None else pcm
    code = ">" if magic == b"RIFX" else "<"
    fmt = chunk(b"fmt ", struct.pack(code + "HHIIHH", 1, 2, RATE, RATE * 4, 4, 16), code)
    size = len(pcm) if data_size is None else data_size
    body = b"WAVE" + fmt + b"data" + struct.pack(code + "I", size & 0xFFFFFFFF) + pcm + after
    size = len(body) if riff_size is None else riff_size
    return magic + struct.pack(code + "I", size & 0xFFFFFFFF) + body


@settings(deadline=None, max_examples=60)
@given(
    data_size=st.sampled_from([0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    | st.integers(0x7FFFFFFF - 4096, 0x80000000 + 4096)
    | st.integers(0xFFFFFFFF - 4096, 0xFFFFFFFF)
    | st.integers(1, FRAMES * 4 - 5000),
    riff_size=st.integers(0, 0xFFFFFFFF) | st.sampled_from([0, 36, 4088, 0xFFFFFFFF]),
)
def test_a_wrong_size_in_a_wav_hides_nothing(data_size, riff_size):
    audio, note = read(wav(data_size, riff_size))
    assert len(audio) == FRAMES
    assert note
    np.testing.assert_array_equal(audio, read(wav())[0])


CHUNKED = [
    ("WAV", "FLOAT", "<I", -4),
    ("AIFF", "PCM_16", ">I", -4),
    ("AIFF", "FLOAT", ">I", -4),
    ("CAF", "PCM_24", ">q", -8),
    ("W64", "FLOAT", "<Q", -8),
]


@pytest.mark.parametrize("format, subtype, code, place", CHUNKED)
@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, -1])
def test_so_it_is_in_other_chunked_files(format, subtype, code, place, size):
    content = bytearray(encoded(format, subtype))
    found = read_chunked(io.BytesIO(content))
    size &= 256 ** struct.calcsize(code) - 1
    if code == ">q" and size > 1 << 62:
        size -= 1 << 64
    struct.pack_into(code, content, found.sound + place, size)
    whole = read(encoded(format, subtype))[0]
    np.testing.assert_array_equal(read(bytes(content))[0], whole)


def test_chunks_behind_the_sound_are_no_sound():
    whole = read(wav())[0]
    for after in (
        chunk(b"LIST", b"INFO" + chunk(b"INAM", b"odd")),
        chunk(b"cue ", bytes(28)) + chunk(b"????", b"x"),
        b"TAG" + bytes(125),
        bytes(2048),
    ):
        np.testing.assert_array_equal(read(wav(after=after))[0], whole)


def test_a_big_endian_wav_that_was_never_finished():
    pcm = (noise() * 32767).astype(">i2").tobytes()
    content = wav(0, 0, pcm=pcm, magic=b"RIFX")
    np.testing.assert_array_equal(read(content)[0], read(wav())[0])


@pytest.mark.parametrize("extra", [6, 77])
@pytest.mark.parametrize("after", [b"", chunk(b"LIST", b"INFO")])
def test_a_wav_over_4_gib_is_read_to_its_end(tmp_path, extra, after):
    size = (1 << 32) + RATE * 4 * extra
    path = tmp_path / "long.wav"
    head = wav(size, size + 36, pcm=b"")
    with path.open("wb") as file:
        file.write(head)
        # Nothing is on the disk but the ends.
        file.seek(len(head) + size - 4)
        file.write(struct.pack("<hh", 1 << 14, 0) + after)
    with AudioReader(path) as reader:
        assert reader.frames == size // 4
        assert "over 4 GiB" in reader.note
        np.testing.assert_array_equal(reader.segment(reader.frames - 2, 9)[0], [0, 0.5])


def test_a_wav_that_was_cut_off_is_refused_and_says_by_how_much():
    with pytest.raises(AudioFileError, match=r"promises 120000 bytes of audio, 119000 are there"):
        read(wav()[:-1000])
    audio, _ = read(wav()[:-1000], partial=True)
    assert len(audio) == FRAMES - 250
    # What came through a pipe was announced before anybody knew.
    audio, note = read(wav()[:-1000], piped_from=Path("-"))
    assert len(audio) == FRAMES - 250 and "119000 are there" in note


def without_xing(content):
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    at = content.index(b"\xff\xfb")
    size = 144 * rates[content[at + 2] >> 4] * 1000 // 44100 + (content[at + 2] >> 1 & 1)
    assert b"Xing" in content[at : at + size] or b"Info" in content[at : at + size]
    return content[at + size :]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("seconds", [1, 5])
def test_an_mp3_that_does_not_tell_its_length(mode, seconds):
    audio = noise(seconds * 44100)
    audio[: len(audio) // 2] *= 0.01  # so that the bit rate varies
    whole = encoded("MP3", "MPEG_LAYER_III", audio, 44100, bitrate_mode=mode)
    bare = without_xing(whole)
    assert abs(len(read(bare)[0]) - len(audio)) < 2500
    # Tags before and behind it, and in the middle of what was joined, are no sound.
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + b"\xff\xfb\x90" * 80 + bytes(16)
    assert len(read(tag + bare + b"TAG" + bytes(125))[0]) == len(read(bare)[0])
    joined = read(whole + tag + whole)[0]
    assert abs(len(joined) - 2 * len(audio)) < 5000


def silent_frames(layer, rates):
    """MPEG-1 frames at 44.1 kHz without a sample set, each of its bit rate in kbit/s."""
    frames = []
    for number, (index, bits) in enumerate(rates):
        padding = number % 3 == 0
        size = (12 * bits * 1000 // 44100 + padding) * 4
        if layer == 2:
            size = 144 * bits * 1000 // 44100 + padding
        head = bytes([0xFF, {1: 0xFF, 2: 0xFD}[layer], index << 4 | padding << 1, 0])
        frames.append(head + bytes(size - 4))
    return b"".join(frames)


@pytest.mark.parametrize("layer, rates", [(1, ((1, 32), (14, 448))), (2, ((4, 64), (14, 384)))])
@pytest.mark.parametrize("order", [(0,), (1,), (0, 1), (1, 0)])
def test_the_older_layers_do_not_tell_their_length(layer, rates, order):
    content = silent_frames(layer, [rates[which] for which in order for _ in range(200)])
    frames = len(order) * 200 * {1: 384, 2: 1152}[layer]
    assert len(read(content)[0]) == frames
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    assert len(read(tag + content + b"TAG" + bytes(125))[0]) == frames


@settings(deadline=None, max_examples=20)
@given(frames=st.integers(20, 30_000), subtype=st.sampled_from(["PCM_16", "PCM_24"]))
def test_a_flac_of_unknown_length(frames, subtype):
    content = bytearray(encoded("FLAC", subtype, noise(frames)))
    whole = read(bytes(content))[0]
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    np.testing.assert_array_equal(read(bytes(content))[0], whole)


def test_a_flac_that_was_cut_off():
    content = encoded("FLAC", "PCM_16")
    with pytest.raises(AudioFileError, match="truncated or damaged"):
        read(content[: len(content) // 2])
    assert 0 < len(read(content[: len(content) // 2], partial=True)[0]) < FRAMES


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_streams_are_one_recording(subtype):
    parts = [encoded("OGG", subtype, noise(seed=seed)) for seed in range(3)]
    expected = np.concatenate([read(part)[0] for part in parts])
    content = b"".join(parts)
    np.testing.assert_array_equal(read(content)[0], expected)
    with AudioReader(Path("x"), content) as reader:
        start = reader.frames // 3 - 100
        segment = reader.segment(start, reader.frames // 2)
    np.testing.assert_allclose(segment.T, expected[start : start + len(expected) // 2], atol=0.02)


def test_joined_streams_of_different_rates_are_refused():
    parts = encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", rate=44100)
    with pytest.raises(AudioFileError, match="different rates"):
        read(parts)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0, 1000])
def test_an_au_that_does_not_tell_its_length(size):
    content = bytearray(encoded("AU", "PCM_16"))
    whole = read(bytes(content))[0]
    struct.pack_into(">I", content, 8, size)
    np.testing.assert_array_equal(read(bytes(content))[0], whole)
