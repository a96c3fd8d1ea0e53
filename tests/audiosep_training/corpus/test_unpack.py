"""Sounds inside archives."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_training.corpus.unpack import read_archive, unpack


class TestUnpack:
    def test_zip_yields_audio_with_safe_names(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pk3"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("sound/a.ogg", "readme.txt", "../b.ogg"):
                archive.writestr(name, name)
        assert list(read_archive(path)) == [("sound/a.ogg", b"sound/a.ogg")]

    def test_qt_resource(self, tmp_path: Path) -> None:
        path = tmp_path / "a.rcc"
        path.write_bytes(qt_resource({"one.wav": (0, b"plain"), "two.ogg": (1, b"packed " * 9)}))
        assert dict(read_archive(path)) == {"one.wav": b"plain", "two.ogg": b"packed " * 9}

    def test_sample_catalogue(self, tmp_path: Path) -> None:
        title, wave = b"Ship / horn\0", b"RIFFdata"
        content = bytes([len(title)]) + title + wave
        path = tmp_path / "a.cat"
        path.write_bytes(struct.pack("<2I", 8 | 0x80000000, len(wave)) + content)
        assert list(read_archive(path)) == [("00_Ship - horn.wav", wave)]

    def test_doom_sounds(self, tmp_path: Path) -> None:
        lump = struct.pack("<2HI", 3, 11025, 4) + bytes([128, 192, 128, 64])
        entry = struct.pack("<2I8s", 12, len(lump), b"DSPISTOL")
        path = tmp_path / "a.wad"
        path.write_bytes(struct.pack("<4s2I", b"IWAD", 1, 12 + len(lump)) + lump + entry)
        ((name, content),) = read_archive(path)
        (tmp_path / name).write_bytes(content)
        audio, rate = soundfile.read(tmp_path / name)
        assert name == "DSPISTOL.wav" and rate == 11025
        np.testing.assert_allclose(audio, [0, 0.5, 0, -0.5], atol=1e-3)

    def test_damaged_archives_are_named(self, tmp_path: Path) -> None:
        for name in ("a.zip", "b.cat"):
            (tmp_path / name).write_bytes(b"abc")
            with pytest.raises(ValueError, match=f"{name} is damaged"):
                list(read_archive(tmp_path / name))

    def test_package_without_archives_makes_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "package").mkdir()
        unpack(tmp_path / "package", tmp_path / "u" / "package")
        assert not (tmp_path / "u").exists()

    def test_a_package_s_sounds_get_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "package").mkdir()
        with zipfile.ZipFile(tmp_path / "package" / "a.zip", "w") as archive:
            archive.writestr("sound/a.ogg", "a")
        unpack(tmp_path / "package", tmp_path / "u" / "package")
        assert (tmp_path / "u" / "package" / "sound" / "a.ogg").read_text() == "a"


def qt_resource(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A Qt resource (version 1) with the files in its root: name -> (flags, content)."""
    names, contents, nodes = b"", b"", b""
    nodes += struct.pack(">IH2I", 0, 2, len(files), 1)
    for name, (flags, content) in files.items():
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if flags else content
        nodes += struct.pack(">IH2HI", len(names), flags, 0, 0, len(contents))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        contents += struct.pack(">I", len(stored)) + stored
    tree = 20
    data = tree + len(nodes)
    return (
        struct.pack(">4s4I", b"qres", 1, tree, data, data + len(contents))
        + nodes
        + contents
        + names
    )
