"""What files hold beside their sound goes with the stems, so far as it holds for them."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_core.files import flac, tags
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.audio_writer import AudioWriter, writing
from audiosep_core.files.chunks import read_chunked
from audiosep_core.files.ogg import read_comments, read_pages, with_checksum, with_comments
from audiosep_core.files.side_data import describe, dress, is_made_here

RATE = 48000
TOLD = "Separated by AudioSep: drums"
GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def noise(frames=9001, channels=2, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((frames, channels))


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def chunks(path):
    with path.open("rb") as file:
        found = read_chunked(file)
        end = file.seek(0, 2)
        # The size of the whole file is right.
        if found.magic == b"RIFF":
            file.seek(4)
            assert struct.unpack("<I", file.read(4))[0] == end - 8
        result = {}
        for one in found.chunks:
            file.seek(one.start)
            result[one.name] = file.read(one.size)
        return result


def stem(source, target, format=None, subtype=None, query="drums"):
    """A copy of a file as a stem is written."""
    with AudioReader(source) as reader:
        format, subtype = format or reader.format, subtype or reader.subtype
        told = describe(query, [])
        dressed = dress(reader.side_data, format, told, reader.channels, reader.speakers)
        writer = AudioWriter(
            target,
            reader.sample_rate,
            reader.channels,
            format,
            subtype,
            reader.frames,
            speakers=reader.speakers,
            dressed=dressed,
        )
        with writing([writer]):
            for block in reader.blocks(1000):
                writer.write(block)
    with AudioReader(source) as one, AudioReader(target) as other:
        assert one.frames == other.frames or format == "MP3"
        if subtype == "FLOAT":
            np.testing.assert_array_equal(one.segment(0, 10**6), other.segment(0, 10**6))
    assert is_made_here(target)
    assert not is_made_here(source)
    return target


def bext(version=2, description=b"take 3"):
    head = description.ljust(256, b"\0") + b"rec".ljust(32, b"\0") + b"ref".ljust(32, b"\0")
    head += b"2024-05-0612:34:56" + struct.pack("<QH", RATE * 3600, version) + b"\x11" * 64
    return head + struct.pack("<5h", -2300, 1, 2, 3, 4) + bytes(180) + b"A=PCM,F=48000\r\n"


BESIDE = {
    b"bext": bext(),
    b"iXML": b"<BWFXML/>",
    b"cue ": struct.pack("<I", 1) + struct.pack("<II4sIII", 1, 24000, b"data", 0, 0, 24000),
    b"smpl": struct.pack("<9I", 0, 0, 20833, 60, 0, 0, 0, 1, 0)
    + struct.pack("<6I", 0, 0, 1000, 40000, 0, 0),
    b"LIST": b"INFO" + chunk(b"INAM", b"My Song\0") + chunk(b"IXYZ", b"odd"),
    b"acid": bytes(range(24)),
    b"id3 ": b"ID3\3\0\0\0\0\0\0",
}


@pytest.fixture
def bwf(tmp_path):
    path = tmp_path / "take.wav"
    soundfile.write(path, noise(), RATE, subtype="FLOAT")
    content = path.read_bytes()
    before = b"".join(chunk(name, BESIDE[name]) for name in (b"bext", b"iXML"))
    after = b"".join(chunk(name, data) for name, data in BESIDE.items() if name not in before)
    body = content[8:12] + before + content[12:] + after
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_a_broadcast_wav_keeps_its_chunks_byte_for_byte(bwf):
    got = chunks(stem(bwf, bwf.with_name("stem.wav")))
    for name in (b"iXML", b"cue ", b"smpl", b"acid", b"id3 "):
        assert got[name] == BESIDE[name], name
    old, new = BESIDE[b"bext"], got[b"bext"]
    assert new[:256].rstrip(b"\0").decode() == f"{TOLD}. take 3"
    assert new[256:348] == old[256:348]
    # A UMID is of one material, and loudness of one sound.
    assert new[348:412] == bytes(64)
    assert new[412:422] == struct.pack("<5h", *[0x7FFF] * 5)
    assert new[422:] == old[422:]
    info = got[b"LIST"]
    assert chunk(b"INAM", b"My Song\0") + chunk(b"IXYZ", b"odd") in info
    assert chunk(b"ICMT", f"{TOLD}\0".encode()) in info
    with soundfile.SoundFile(bwf.with_name("stem.wav")) as file:
        assert (file.title, file.comment) == ("My Song", TOLD)


@pytest.mark.parametrize("format, subtype", [("RF64", "FLOAT"), ("W64", "FLOAT")])
def test_so_do_its_64_bit_kinds(bwf, format, subtype):
    target = stem(bwf, bwf.with_name("stem.w64"), format, subtype)
    got = chunks(target)
    assert got[b"cue "] == BESIDE[b"cue "] and got[b"bext"][338:346] == BESIDE[b"bext"][338:346]
    again = chunks(stem_of_stem(target, bwf.with_name("again.wav")))
    assert again[b"smpl"] == BESIDE[b"smpl"]


def stem_of_stem(source, target):
    with AudioReader(source) as reader:
        dressed = dress(reader.side_data, "WAV", TOLD, reader.channels, reader.speakers)
        writer = AudioWriter(target, RATE, reader.channels, "WAV", "FLOAT", dressed=dressed)
        with writing([writer]):
            writer.write(reader.segment(0, reader.frames))
    return target


def test_a_long_description_is_cut_between_letters(tmp_path):
    told = tags.to_bext(bext(description=b"x" * 256), f"{TOLD} {'ö' * 200}")[:256]
    assert told.decode().startswith(TOLD) and len(told) == 256


def test_in_a_flac_its_time_stamp_is_a_comment(bwf):
    target = stem(bwf, bwf.with_name("stem.flac"), "FLAC", "PCM_24")
    with target.open("rb") as file:
        found = flac.read_flac(file)
    [block] = [content for kind, content in found.blocks if kind == flac.COMMENT]
    comments = dict(tags.comment_tags(tags.from_comments(block)[1]))
    assert comments["TITLE"] == "My Song"
    assert comments["TIME_REFERENCE"] == str(RATE * 3600)
    assert comments["DESCRIPTION"] == f"{TOLD}. take 3"


def test_a_flac_keeps_comments_and_pictures(tmp_path):
    source = tmp_path / "a.flac"
    soundfile.write(source, noise(), RATE, subtype="PCM_24")
    content = source.read_bytes()
    comments = [b"TITLE=S\xc3\xb6ng", b"X-Own=\xff1", b"REPLAYGAIN_TRACK_GAIN=-3 dB"]
    body = struct.pack("<I", 1) + b"v" + struct.pack("<I", len(comments))
    body += b"".join(struct.pack("<I", len(one)) + one for one in comments)
    pixels = bytes(range(256)) * 400
    picture = struct.pack(">II9sIIIIII", 3, 9, b"image/png", 0, 1, 1, 24, 0, len(pixels)) + pixels
    blocks = flac.write_blocks([(flac.COMMENT, body), (flac.PICTURE, picture)])
    # The encoder's own block of comments becomes padding.
    source.write_bytes(content[:42] + blocks + bytes([0x81]) + content[43:])
    with stem(source, tmp_path / "stem.flac").open("rb") as file:
        found = flac.read_flac(file)
    assert [content for kind, content in found.blocks if kind == flac.PICTURE] == [picture]
    [block] = [content for kind, content in found.blocks if kind == flac.COMMENT]
    assert tags.from_comments(block)[1] == [f"DESCRIPTION={TOLD}".encode(), *comments[:2]]
    with soundfile.SoundFile(tmp_path / "stem.flac") as file:
        assert file.title == "Söng"


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("size", [10, 70_000, 200_000])
def test_an_ogg_keeps_comments_of_any_size(tmp_path, subtype, size):
    plain, source = tmp_path / "plain.ogg", tmp_path / "a.ogg"
    soundfile.write(plain, noise(60_000), RATE, subtype=subtype, format="OGG")
    picture = b"METADATA_BLOCK_PICTURE=" + b"QUJD" * (size // 4)
    comments = [b"TITLE=Song", picture, b"R128_TRACK_GAIN=1"]
    with plain.open("rb") as file, source.open("wb") as out:
        with_comments(file, out, comments, "of a test")
    with source.open("rb") as file:
        pages = list(read_pages(file))
        for number, page in enumerate(pages):
            file.seek(page.start)
            content = file.read(page.size)
            assert content == with_checksum(content)
            assert struct.unpack_from("<I", content, 18)[0] == number
    target = stem(source, tmp_path / "stem.ogg")
    with target.open("rb") as file:
        got = read_comments(file)
    assert got == [f"DESCRIPTION={TOLD}. of a test".encode(), *comments[:2]]
    with soundfile.SoundFile(target) as file, soundfile.SoundFile(plain) as before:
        assert file.title == "Song" and file.frames == before.frames


def id3(version, *frames):
    def safe(size):
        return bytes(size >> shift & 127 for shift in (21, 14, 7, 0))

    size_of = safe if version == 4 else lambda size: struct.pack(">I", size)
    parts = [code + size_of(len(text)) + b"\0\0" + text for code, text in frames]
    body = b"".join(parts) + bytes(30)
    return b"ID3" + bytes([version, 0, 0]) + safe(len(body)) + body


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("query", ["drums", "太鼓"])
def test_an_mp3_keeps_its_frames(tmp_path, version, query):
    source, target = tmp_path / "a.mp3", tmp_path / "stem.mp3"
    soundfile.write(source, noise(60_000), RATE, format="MP3")
    picture = b"\0image/png\0\3\0" + bytes(range(256)) * 40
    kept = [(b"TIT2", b"\3Song"), (b"APIC", picture), (b"TXXX", b"\0own\0text")]
    lost = [
        (b"RVA2", b"levels"),
        (b"TXXX", b"\0replaygain_track_gain\0-3"),
        (b"COMM", b"\0engiTunSMPB\0 0"),
    ]
    end = b"TAG" + b"Song".ljust(125, b"\0")
    source.write_bytes(id3(version, *kept, *lost) + source.read_bytes() + end)
    content = stem(source, target, query=query).read_bytes()
    assert content[:4] == b"ID3" + bytes([version]) and content.endswith(end)
    frames = [(code, value) for code, _, value in tags._frames(content)]
    assert frames[0][0] == b"COMM" and frames[1:] == kept
    told = frames[0][1]
    text = told[4:].decode({0: "latin-1", 1: "utf-16", 3: "utf-8"}[told[0]])
    assert f"AudioSep: {query}" in text


def test_an_aiff_keeps_markers_and_names(tmp_path):
    source = tmp_path / "a.aiff"
    soundfile.write(source, noise(), RATE, subtype="PCM_16")
    content = source.read_bytes()
    beside = {b"MARK": struct.pack(">HHI", 1, 1, 500) + b"\5start", b"NAME": b"Song"}
    after = b"".join(name + struct.pack(">I", len(data)) + data for name, data in beside.items())
    body = content[8:] + after
    source.write_bytes(b"FORM" + struct.pack(">I", len(body)) + body)
    got = chunks(stem(source, tmp_path / "stem.aiff"))
    assert {name: got[name] for name in beside} == beside
    assert got[b"ANNO"] == TOLD.encode()


def test_titles_cross_from_an_id3_tag_among_chunks(tmp_path):
    tag = id3(3, (b"TIT2", b"\0Song"), (b"TPE1", b"\0Anna"), (b"TYER", b"\01999"))
    for name, code in (("a.aiff", ">I"), ("a.wav", "<I")):
        source = tmp_path / name
        soundfile.write(source, noise(), RATE, subtype="PCM_16")
        content = source.read_bytes()
        # A name that the file tells in its own way as well is told once.
        own = b"NAME" + struct.pack(code, 4) + b"Song" if name == "a.aiff" else b""
        letters = b"ID3 " if name == "a.aiff" else b"id3 "
        after = own + letters + struct.pack(code, len(tag)) + tag + bytes(len(tag) % 2)
        body = content[8:] + after
        source.write_bytes(content[:4] + struct.pack(code, len(body)) + body)
        with stem(source, tmp_path / "stem.flac", "FLAC", "PCM_16").open("rb") as file:
            found = flac.read_flac(file)
        [block] = [content for kind, content in found.blocks if kind == flac.COMMENT]
        told = tags.comment_tags(tags.from_comments(block)[1])
        expected = [("ARTIST", "Anna"), ("DATE", "1999"), ("TITLE", "Song")]
        assert sorted(pair for pair in told if pair[0] != "DESCRIPTION") == expected


def test_titles_cross_to_other_kinds(tmp_path):
    source = tmp_path / "a.flac"
    with soundfile.SoundFile(source, "w", RATE, 2, subtype="PCM_16") as file:
        file.title, file.artist, file.date = "Söng", "Anna", "2024"
        file.write(noise(60_000))
    kinds = [("WAV", "FLOAT"), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
    for format, subtype in kinds:
        target = stem(source, tmp_path / f"stem.{format.lower()}", format, subtype)
        with soundfile.SoundFile(target) as file:
            assert (file.title, file.artist) == ("Söng", "Anna"), format


MASKS = [(8, 0x63F), (6, 0x60F), (3, 0xB), (4, 0x107), (3, 0x7), (1, 0x8), (2, 0x600), (5, 0)]


@pytest.mark.parametrize("channels, mask", MASKS)
@pytest.mark.parametrize(
    "format, subtype", [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "PCM_24")]
)
def test_channels_stay_with_their_speakers(tmp_path, channels, mask, format, subtype):
    pcm = (noise(3000, channels) * 32767).astype("<i2").tobytes()
    fmt = struct.pack(
        "<HHIIHHHHI", 0xFFFE, channels, RATE, RATE * channels * 2, channels * 2, 16, 22, 16, mask
    )
    body = b"WAVE" + chunk(b"fmt ", fmt + GUID) + chunk(b"data", pcm)
    source = tmp_path / "a.wav"
    source.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    head = chunks(stem(source, tmp_path / "stem", format, subtype))[b"fmt "]
    assert struct.unpack_from("<H", head)[0] == 0xFFFE
    assert struct.unpack_from("<I", head, 20)[0] == mask
    # Through FLAC and back.
    if mask:
        between = stem(source, tmp_path / "stem.flac", "FLAC", "PCM_16")
        with AudioReader(between) as reader:
            assert reader.speakers == mask


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize(
    "channels, mask, places",
    [
        (3, 0x7, [0, 2, 1]),
        (5, 0x37, [0, 2, 1, 3, 4]),
        (6, 0x3F, [0, 2, 1, 5, 3, 4]),
        (7, 0x70F, [0, 2, 1, 6, 5, 3, 4]),
        (8, 0x63F, [0, 2, 1, 7, 5, 6, 3, 4]),
    ],
)
def test_an_ogg_has_its_speakers_in_another_order(tmp_path, subtype, channels, mask, places):
    # Low tones, so that the channel of the subwoofer keeps its own.
    levels = np.linspace(0.4, 0.1, channels)
    source = tmp_path / "a.ogg"
    tone = np.sin(2 * np.pi * 50 / RATE * np.arange(RATE // 2))
    soundfile.write(source, tone[:, None] * levels, RATE, subtype=subtype, format="OGG")
    with AudioReader(source) as reader:
        assert reader.speakers == mask
    head = chunks(stem(source, tmp_path / "stem.wav", "WAV", "FLOAT"))[b"fmt "]
    assert struct.unpack_from("<I", head, 20)[0] == mask
    stem(source, tmp_path / "stem.ogg")
    for name, expected in (("stem.wav", levels[places]), ("stem.ogg", levels)):
        power = (soundfile.read(tmp_path / name)[0] ** 2).mean(0)
        np.testing.assert_array_equal(np.argsort(power), np.argsort(expected))


@pytest.mark.parametrize(
    "layout, bits, channels, mask",
    [(121 << 16 | 6, 0, 6, 0x3F), (1 << 16, 0x60F, 6, 0x60F), (132 << 16 | 4, 0, 4, 0x33)],
)
def test_a_caf_tells_its_speakers_in_its_own_way(tmp_path, layout, bits, channels, mask):
    source = tmp_path / "a.caf"
    soundfile.write(source, noise(3000, channels), RATE, subtype="PCM_16")
    content, told = source.read_bytes(), struct.pack(">III", layout, bits, 0)
    # After the head of the file and the description of its samples.
    source.write_bytes(content[:52] + struct.pack(">4sq", b"chan", 12) + told + content[52:])
    head = chunks(stem(source, tmp_path / "stem.wav", "WAV", "PCM_16"))[b"fmt "]
    assert struct.unpack_from("<I", head, 20)[0] == mask
    assert chunks(stem(source, tmp_path / "stem.caf"))[b"chan"] == told


def test_nobody_guesses_speakers(tmp_path):
    source = tmp_path / "a.wav"
    soundfile.write(source, noise(3000, 6), RATE)
    head = chunks(stem(source, tmp_path / "stem.wav", "RF64", "PCM_16"))[b"fmt "]
    assert struct.unpack_from("<I", head, 20)[0] == 0


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "FLAC", "CAF", "AU"])
def test_a_plain_file_stays_readable(tmp_path, format):
    source = tmp_path / "a"
    soundfile.write(source, noise(4001, 1), RATE, format=format, subtype="PCM_16")
    with AudioReader(source) as reader:
        dressed = dress(reader.side_data, format, TOLD, 1, None)
        writer = AudioWriter(tmp_path / "b", RATE, 1, format, "PCM_16", dressed=dressed)
        with writing([writer]):
            for block in reader.blocks(999):
                writer.write(block)
    for file in (tmp_path / "b", io.BytesIO((tmp_path / "b").read_bytes())):
        np.testing.assert_array_equal(
            soundfile.read(file, dtype="int16")[0], soundfile.read(source, dtype="int16")[0]
        )
    assert Path(tmp_path / "b").stat().st_size < 20_000
