"""Whatever files a user brings: what is read, what is written where, and what is left alone."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiosep_core.files.catalogue import JOURNAL

RATE = 44100
MAIN = "from audiosep_core.commands import main; main()"


def noise(frames=6000, channels=2, level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal((frames, channels))


def write(path, **kinds):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = kinds.pop("audio", None)
    soundfile.write(path, noise() if audio is None else audio, kinds.pop("rate", RATE), **kinds)
    return path


def files_in(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != JOURNAL
    )


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def ffmpeg(source, target, *options):
    line = ["ffmpeg", "-v", "error", "-y", "-i", source, *options, target]
    subprocess.run(list(map(str, line)), check=True)


@pytest.mark.parametrize(
    "subtype, bits", [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)]
)
def test_integer_stems_sum_to_their_input_exactly(audiosep, subtype, bits):
    write("a.wav", subtype=subtype)
    queries = [part for query in ("drums", "speech", "a piano") for part in ("-q", query)]
    assert audiosep("separate", "a.wav", *queries, "--residual", "-o", "o")[0] == 0
    stems = [
        soundfile.read(path, dtype="int32")[0].astype(np.int64) for path in Path("o/a").iterdir()
    ]
    assert len(stems) == 4
    np.testing.assert_array_equal(sum(stems), soundfile.read("a.wav", dtype="int32")[0])


@pytest.mark.parametrize(
    "subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "NMS_ADPCM_32"]
)
def test_lossy_samples_are_told_of(audiosep, subtype):
    write("a.wav", subtype=subtype, audio=noise(8000, 1), rate=8000)
    code, _, err = audiosep("separate", "a.wav", "-q", "drums", "--residual", "-o", "o")
    assert code == 0 and "do not sum to the mixture exactly" in err
    code, _, err = audiosep(
        "separate", "a.wav", "-q", "drums", "--residual", "-o", "o2", "--format", "wav"
    )
    assert code == 0 and "exactly" not in err


@pytest.mark.parametrize(
    "name, subtype, kinds",
    [
        ("a.mp3", "MPEG_LAYER_III", {"bitrate_mode": "CONSTANT", "compression_level": 0.0}),
        ("a.mp3", "MPEG_LAYER_III", {"bitrate_mode": "VARIABLE", "compression_level": 0.3}),
        ("a.ogg", "VORBIS", {"compression_level": 0.1}),
        ("a.opus", "OPUS", {"compression_level": 0.2, "format": "OGG"}),
    ],
)
def test_lossy_stems_have_at_least_the_bit_rate_of_their_input(audiosep, name, subtype, kinds):
    write(name, subtype=subtype, audio=noise(48000 * 5), rate=48000, **kinds)
    assert audiosep("separate", name, "-q", "drums", "--residual", "-o", "o")[0] == 0
    residual = Path("o/a/residual").with_suffix(Path(name).suffix)
    # Less what the stem has of it, and tags.
    assert residual.stat().st_size > 0.9 * Path(name).stat().st_size


def test_no_output_of_a_run_is_an_input_of_it(audiosep):
    write("session/song.wav")
    mine = write("session/song/drums.wav", audio=noise(seed=3)).read_bytes()
    (Path("session") / "other.wav").symlink_to("song/drums.wav")
    for more in (["--overwrite"], ["--overwrite", "--resume"], ["--resume"]):
        code, _, err = audiosep("separate", "session", "-q", "drums", "-o", "session", *more)
        assert code == 2
        assert "session/song/drums.wav is an input of this run" in err
        assert Path("session/song/drums.wav").read_bytes() == mine


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.caf", "a.w64"])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_stems_are_no_input_again(audiosep, name, resume):
    write(f"album/{name}")
    ending = Path(name).suffix
    Path("link").symlink_to("album")
    for place, query in (("album", "drums"), ("album/../album", "speech"), ("link", "a piano")):
        output = f"{place}/stems"
        code, _, err = audiosep("separate", place, "-q", query, "-o", output, *resume)
        assert code == 0, err
        made = "made by an earlier run: " in err
        assert made == (query != "drums")
    assert files_in("album/stems") == [f"a/{n}{ending}" for n in ("a-piano", "drums", "speech")]
    # Asked for by name, a stem is a recording like any other.
    assert audiosep("separate", f"album/stems/a/drums{ending}", "-q", "rain", "-o", "o")[0] == 0
    code, _, err = audiosep("separate", "album/stems", "-q", "rain", "-o", "o2")
    assert code == 2 and "made by an earlier run" in err


def test_folders_are_searched_by_content_and_name_what_they_skip(audiosep):
    raw = write("a.wav").read_bytes()
    names = ["b.wave", "c.bwf", "d.rf64", "e.m4a", "f.wma", "g.mp2", "h.aac", "i", "j.txt"]
    for name in names:
        Path("album").mkdir(exist_ok=True)
        (Path("album") / name).write_bytes(raw)
    write("album/k.voc", format="VOC", subtype="PCM_16")
    Path("album/cover.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(99))
    Path("album/.DS_Store").write_bytes(bytes(99))
    code, out, err = audiosep("separate", "album", "-q", "drums", "-o", "o", "--json")
    assert code == 0, err
    done = {Path(file["input"]).name for file in json.loads(out)["files"]}
    assert done == {*names, "k.voc"}
    assert "skipped, no audio: album/cover.jpg\n" in err
    assert json.loads(out)["skipped"] == [{"path": "album/cover.jpg", "reason": "no audio"}]


def test_what_macos_leaves_beside_files_is_no_audio(audiosep):
    write("usb/a.wav")
    write("usb/b.mp3", format="MP3")
    double = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(400)
    Path("usb/__MACOSX").mkdir()
    for name in ("._a.wav", "._b.mp3", "__MACOSX/._a.wav"):
        (Path("usb") / name).write_bytes(double)
    code, _, err = audiosep("separate", "usb", "-q", "drums", "-o", "o")
    assert (code, err) == (0, "")
    assert files_in("o") == ["a/drums.wav", "b/drums.mp3"]
    code, _, err = audiosep("separate", "usb/._a.wav", "-q", "drums", "-o", "o2")
    assert code == 1 and "give the file without '._'" in err


@pytest.mark.parametrize(
    "name, format, ending",
    [
        ("take", "WAV", ".wav"),
        ("w.mp3", "WAV", ".wav"),
        ("w.WAVE", "WAV", ".WAVE"),
        ("f.wav", "FLAC", ".flac"),
        ("v.flac", "OGG", ".ogg"),
        ("mix.2024", "AIFF", ".aiff"),
        ("song.AIF", "AIFF", ".AIF"),
        ("x.wav", "MP3", ".mp3"),
        ("x.wav", "CAF", ".caf"),
    ],
)
def test_the_ending_tells_the_container(audiosep, name, format, ending):
    write(name, format=format)
    code, out, err = audiosep("separate", name, "-q", "drums", "-o", "o")
    assert code == 0, err
    assert out.strip().endswith(f"/drums{ending}")
    assert soundfile.info(out.strip()).format == format


@needs_ffmpeg
@pytest.mark.parametrize(
    "name, options",
    [
        ("a.m4a", ["-c:a", "aac"]),
        ("a.mp4", ["-c:a", "alac"]),
        ("a.mkv", ["-c:a", "libopus"]),
        ("a.webm", ["-c:a", "libopus"]),
        ("a.wma", ["-c:a", "wmav2"]),
        ("a.wv", []),
        ("mp3-in.wav", ["-c:a", "libmp3lame"]),
    ],
)
def test_ffmpeg_reads_what_libsndfile_cannot(audiosep, monkeypatch, name, options):
    ffmpeg(write("in.wav", rate=48000), name, "-metadata", "title=Song", *options)
    code, out, err = audiosep("separate", name, "-q", "drums", "--residual", "-o", "o")
    assert code == 0, err
    stems = [soundfile.read(path)[0] for path in out.split()]
    assert abs(len(stems[0]) - 6000) < 3000
    with soundfile.SoundFile(out.split()[0]) as file:
        assert (file.format[:3], file.samplerate, file.title) == ("WAV", 48000, "Song")
    monkeypatch.setenv("PATH", "")
    code, _, err = audiosep("separate", name, "-q", "drums", "-o", "o2")
    assert code == 1 and "needs ffmpeg to be read" in err and "install it" in err


@needs_ffmpeg
@pytest.mark.parametrize("options", [["-b:a", "40k"], ["-application", "voip", "-b:a", "24k"]])
def test_opus_is_read_with_all_its_band(audiosep, options):
    ffmpeg(write("in.wav", audio=noise(64000), rate=32000), "a.opus", "-c:a", "libopus", *options)
    code, out, err = audiosep("separate", "a.opus", "-q", "drums", "--format", "wav", "-o", "o")
    assert code == 0, err
    assert soundfile.info(out.strip()).samplerate == 48000
    assert soundfile.info(out.strip()).frames == 96000


def test_names_that_a_terminal_lacks_are_printed(tmp_path):
    for name, encoding in (("日本の歌", "cp1252"), ("Песня", "latin-1"), ("naïve 🎸", "ascii")):
        write(tmp_path / f"{name}.wav")
        line = [sys.executable, "-c", MAIN, "separate", f"{name}.wav", "-q", "drums", "-o", "o"]
        done = subprocess.run(
            line,
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
@pytest.mark.parametrize("given", ["name", "folder", "list"])
def test_names_that_are_no_utf8_are_read_and_written(tmp_path, given):
    raw = os.fsencode(tmp_path) + b"/in/caf\xe9.wav"
    write(tmp_path / "in/plain.wav").rename(os.fsdecode(raw))
    (tmp_path / "list").write_bytes(raw + b"\n")
    arguments = {"name": [raw], "folder": [b"in"], "list": [b"--list", b"list"]}[given]
    line = [sys.executable, "-c", MAIN, "separate", *arguments, "-q", "drums", "-o", "o"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"caf\xe9/drums.wav" in done.stdout
    assert (tmp_path / os.fsdecode(done.stdout.strip())).is_file()


@pytest.mark.parametrize("query", ["犬" * 200, "🎸" * 100 + " guitar", "é" * 300])
def test_names_are_cut_by_their_bytes(audiosep, query):
    write("a.wav")
    code, out, err = audiosep("separate", "a.wav", "-q", query, "-o", "o")
    assert code == 0, err
    assert len(os.fsencode(Path(out.strip()).name)) < 128


@pytest.mark.skipif(os.name == "nt", reason="has no FIFO")
def test_a_fifo_is_an_input(audiosep):
    raw = write("a.wav").read_bytes()
    os.mkfifo("in.wav")
    feeder = threading.Thread(target=lambda: Path("in.wav").write_bytes(raw))
    feeder.start()
    code, _, err = audiosep("separate", "in.wav", "-q", "drums", "-o", "o")
    feeder.join()
    assert code == 0, err
    assert soundfile.info("o/in/drums.wav").frames == 6000


def test_standard_input_and_output(audiosep, monkeypatch, tmp_path):
    raw = write("a.flac").read_bytes()
    line = [sys.executable, "-c", MAIN, "separate", "-", "-q", "drums", "-o", "-"]
    done = subprocess.run(line, cwd=tmp_path, input=raw, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert soundfile.info(io.BytesIO(done.stdout)).frames == 6000
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert audiosep("separate", "-", "-q", "drums", "-o", "o")[1] == "o/stdin/drums.flac\n"
    for more in (["-q", "rain"], ["--residual"], ["--json"], ["a.flac"]):
        code, _, err = audiosep("separate", "-", "-q", "drums", "-o", "-", *more)
        assert code == 2 and "one stem of one file" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no full device")
@pytest.mark.parametrize("full", [True, False], ids=["full", "closed"])
def test_standard_output_that_takes_no_more_is_one_sentence(tmp_path, full):
    write(tmp_path / "a.wav", audio=noise(RATE))
    line = [sys.executable, "-c", MAIN, "separate", "a.wav", "-q", "drums", "-o", "-"]
    if full:
        out, reason = os.open("/dev/full", os.O_WRONLY), "No space left on device"
    else:
        (unread, out), reason = os.pipe(), "Broken pipe"
        os.close(unread)
    done = subprocess.run(line, cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"written to standard output: {reason}" in done.stderr


DAMAGE = {
    "a.wav": lambda content: content[:-8001],
    "a.flac": lambda content: content[: len(content) // 2],
    "a.mp3": lambda content: content[: len(content) // 2],
    "a.ogg": lambda content: content[: len(content) * 2 // 3],
    "a.aiff": lambda content: content[:-8001],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_left_of_a_damaged_file(audiosep, name):
    write(name, audio=noise(3 * RATE))
    Path(name).write_bytes(DAMAGE[name](Path(name).read_bytes()))
    code, _, err = audiosep("separate", name, "-q", "drums", "-o", "o")
    assert code == 1 and "--partial" in err and not Path("o").exists()
    code, out, err = audiosep("separate", name, "-q", "drums", "-o", "o", "--partial", "--json")
    assert code == 1
    [file] = json.loads(out)["files"]
    frames = soundfile.info(file["stems"][0]["path"]).frames
    assert RATE // 2 < frames < 3 * RATE
    assert f"partial: {name} 0.00 s to {frames / RATE:.2f} s were taken" in err
    assert file["damage"]
    # A run that goes on says it again.
    assert audiosep("separate", name, "-q", "rain", "-o", "o", "--partial", "--resume")[0] == 1
    code, _, err = audiosep("separate", name, "-q", "rain", "-o", "o", "--partial", "--resume")
    assert code == 1 and "were taken" in err


def test_a_whole_file_is_not_partial(audiosep):
    write("a.wav")
    code, _, err = audiosep("separate", "a.wav", "-q", "drums", "-o", "o", "--partial")
    assert (code, err) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing_behind(tmp_path, number):
    write(tmp_path / "long.wav", audio=noise(40 * RATE))
    code = (
        "import os; from audiosep_core.files import job\n"
        "write = job._write\n"
        "def end(*arguments):\n"
        f"    write(*arguments); os.kill(os.getpid(), {int(number)})\n"
        f"job._write = end\n{MAIN}"
    )
    line = [sys.executable, "-c", code, "separate", "long.wav", "-q", "drums", "-o", "o"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + number, "stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]


def test_what_a_killed_run_left_goes_with_the_next(audiosep):
    write("a.wav")
    Path("o/a").mkdir(parents=True)
    Path("o/a/.drums.wav.0badcafe.part").write_bytes(bytes(99))
    assert audiosep("separate", "a.wav", "-q", "drums", "-o", "o")[0] == 0
    assert files_in("o") == ["a/drums.wav"]


def test_the_reason_of_a_refused_write_is_told(tmp_path):
    write(tmp_path / "a.wav", audio=noise(8 * RATE), subtype="FLOAT")
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 10**5,) * 2)\n{MAIN}"
    line = [sys.executable, "-c", code, "separate", "a.wav", "-q", "drums", "-o", "o"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert not (tmp_path / "o").exists()


def test_queries_that_could_not_be_kept_are_told_of(audiosep, monkeypatch, tmp_path):
    (tmp_path / "nowhere").write_text("a file, not a folder")
    monkeypatch.setenv("AUDIOSEP_CACHE", str(tmp_path / "nowhere"))
    code, out, err = audiosep("queries", "add", "a kettle with a whistle", "Drum")
    assert code == 2 and "nothing was kept of 'a kettle with a whistle'" in err
    assert out == "ships with the model: Drum\n"
    monkeypatch.setenv("AUDIOSEP_CACHE", str(tmp_path / "somewhere"))
    assert audiosep("queries", "add", "a kettle with a whistle")[1].startswith("ready: ")
