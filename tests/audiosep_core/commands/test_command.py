"""The command as a user meets it: real files in, real files out, one sentence per mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_core.files.catalogue import JOURNAL
from audiosep_core.files.job import stem_names

RATE = 44100


def write(path, frames=RATE, channels=2, rate=RATE, level=0.1, **kinds):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = level * np.random.default_rng(3).standard_normal((frames, channels))
    soundfile.write(path, audio, rate, **kinds)
    return path


def files_in(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != JOURNAL
    )


@pytest.mark.parametrize(
    "name, subtype, rate, channels",
    [
        ("a.wav", "PCM_16", 44100, 1),
        ("a.wav", "PCM_24", 48000, 2),
        ("a.wav", "FLOAT", 96000, 2),
        ("a.wav", "DOUBLE", 22050, 6),
        ("a.flac", "PCM_24", 48000, 2),
        ("a.aiff", "PCM_16", 44100, 2),
        ("a.ogg", "VORBIS", 48000, 2),
        ("a.mp3", "MPEG_LAYER_III", 44100, 2),
        ("a.w64", "PCM_32", 32000, 1),
    ],
)
def test_stems_are_like_their_input(audiosep, name, subtype, rate, channels):
    write(name, rate, channels, rate, subtype=subtype)
    code, out, err = audiosep("separate", name, "-q", "drums", "-o", "out", "--residual")
    assert code == 0, err
    ending = Path(name).suffix
    assert files_in("out") == [f"a/drums{ending}", f"a/residual{ending}"]
    assert out.split() == [f"out/a/drums{ending}", f"out/a/residual{ending}"]
    expected = soundfile.info(name)
    for stem in Path("out/a").iterdir():
        info = soundfile.info(stem)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (
            expected.samplerate,
            expected.channels,
            expected.format,
            expected.subtype,
        )
        assert info.frames == expected.frames
    if subtype in ("FLOAT", "DOUBLE"):
        total = sum(soundfile.read(stem)[0] for stem in Path("out/a").iterdir())
        assert np.abs(total - soundfile.read(name)[0]).max() <= 1e-6


def test_many_files_and_folders(audiosep):
    write("album/one.wav")
    write("album/disc 2/two.flac")
    write("single.wav")
    Path("album/notes.txt").write_text("no audio")
    code, out, _ = audiosep(
        "separate", "album", "single.wav", "-q", "drums", "-q", "A bird!", "-o", "out", "--json"
    )
    assert code == 0
    assert files_in("out") == [
        "disc 2/two/a-bird.flac",
        "disc 2/two/drums.flac",
        "one/a-bird.wav",
        "one/drums.wav",
        "single/a-bird.wav",
        "single/drums.wav",
    ]
    report = json.loads(out)
    assert [len(file["stems"]) for file in report["files"]] == [2, 2, 2]
    assert report["failures"] == []


def test_one_bad_file_does_not_stop_the_others(audiosep):
    write("in/good.wav")
    Path("in/bad.wav").write_bytes(b"RIFF but not really")
    code, _, err = audiosep("separate", "in", "-q", "drums", "-o", "out")
    assert code == 1
    assert "in/bad.wav is no audio file" in err
    assert files_in("out") == ["good/drums.wav"]


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_pictures_come_with_their_files(tmp_path):
    pytest.importorskip("matplotlib")
    for name in "ab":
        write(tmp_path / f"{name}.wav", 9000)
    code = (
        "import os, signal; from audiosep_core.files import job\n"
        "write, calls = job._write, []\n"
        "def stop(*arguments):\n"
        "    write(*arguments); calls.append(0)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "job._write = stop\n"
        "from audiosep_core.commands import main; main()"
    )
    line = [sys.executable, "-c", code, "separate", "a.wav", "b.wav"]
    line += ["-q", "mixture", "-o", "o", "--picture"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130 and "1 of 2 files are done" in done.stderr
    assert files_in(tmp_path / "o") == ["a/mixture.wav", "a/spectrograms.png"]


@pytest.mark.skipif(os.name == "nt", reason="resource limits differ")
def test_a_picture_without_room_stops_no_other_file(tmp_path):
    pytest.importorskip("matplotlib")
    for name in "ab":
        write(tmp_path / f"{name}.wav", 2000)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2)\n"
        "from audiosep_core.commands import main; main()"
    )
    line = [sys.executable, "-c", code, "separate", "a.wav", "b.wav", "-q", "rain"]
    line += ["-o", str(tmp_path / "o"), "--picture"]
    # Fonts and queries are kept in files that are larger.
    kept = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "fonts")}
    prepare = "import matplotlib.font_manager"
    subprocess.run([sys.executable, "-c", prepare], env=kept, check=True)
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=kept)
    assert done.returncode == 1
    assert "a/spectrograms.png cannot be written: File too large; make room" in done.stderr
    assert "failed: 2 of 2 files" in done.stderr and "Traceback" not in done.stderr
    assert files_in(tmp_path / "o") == ["a/rain.wav", "b/rain.wav"]


def test_a_damaged_file_has_a_picture_of_what_is_left(audiosep):
    pytest.importorskip("matplotlib")
    whole = write("whole.wav", 9000).read_bytes()
    Path("a.wav").write_bytes(whole[: len(whole) // 2])
    code, _, err = audiosep("separate", "a.wav", "-q", "rain", "-o", "o", "--picture", "--partial")
    assert code == 1 and "were taken" in err
    assert files_in("o") == ["a/rain.wav", "a/spectrograms.png"]


def test_a_picture_beside_the_stems(audiosep):
    pytest.importorskip("matplotlib")
    soundfile.write("a.wav", np.random.default_rng(0).standard_normal((9000, 2)) * 0.1, 44_100)
    code, out, err = audiosep("separate", "a.wav", "-q", "rain", "-o", "out", "--picture")
    assert code == 0, err
    assert Path("out/a/spectrograms.png").read_bytes().startswith(b"\x89PNG")
    assert out.split() == [str(Path("out/a/rain.wav"))]
    again = ("separate", "a.wav", "-q", "wind", "-o", "out", "--picture")
    Path("out/a/spectrograms.png").write_bytes(b"mine")
    code, _, err = audiosep(*again)
    assert code == 2 and "--overwrite" in err
    assert Path("out/a/spectrograms.png").read_bytes() == b"mine"
    assert not Path("out/a/wind.wav").exists()
    assert audiosep(*again, "--overwrite")[0] == 0
    assert Path("out/a/spectrograms.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = audiosep("separate", "a.wav", "-q", "rain", "-o", "-", "--picture")
    assert code == 2 and "--picture" in err


def test_existing_files_are_kept_unless_told(audiosep):
    write("a.wav")
    assert audiosep("separate", "a.wav", "-q", "drums", "-o", "out")[0] == 0
    before = Path("out/a/drums.wav").read_bytes()
    Path("out/a/drums.wav").write_bytes(b"mine")
    code, _, err = audiosep("separate", "a.wav", "-q", "drums", "-o", "out")
    assert code == 2
    assert "--overwrite" in err
    assert Path("out/a/drums.wav").read_bytes() == b"mine"
    assert audiosep("separate", "a.wav", "-q", "drums", "-o", "out", "--overwrite")[0] == 0
    assert Path("out/a/drums.wav").read_bytes() == before


def truncated(name, **kinds):
    path = write(name, **kinds)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def with_nan(name):
    audio = np.zeros((RATE, 2), np.float32)
    audio[100, 1] = np.nan
    soundfile.write(name, audio, RATE, subtype="FLOAT")


BAD_FILES = {
    "missing": (lambda name: None, 2, "does not exist"),
    "empty": (lambda name: Path(name).write_bytes(b""), 1, "empty file"),
    "text": (lambda name: Path(name).write_text("hello " * 99), 1, "no audio file"),
    "no frames": (lambda name: write(name, 0), 1, "length is zero"),
    "truncated wav": (truncated, 1, "is truncated: its header promises"),
    "truncated aiff": (lambda name: truncated(name, format="AIFF"), 1, "is truncated"),
    "truncated flac": (lambda name: truncated(name, format="FLAC"), 1, "truncated or damaged"),
    "truncated ogg": (lambda name: truncated(name, format="OGG"), 1, "last page is missing"),
    "truncated mp3": (lambda name: truncated(name, format="MP3"), 1, "truncated or damaged"),
    "NaN": (with_nan, 1, "NaN or infinite samples at 0.002 s"),
    "a folder": (lambda name: Path(name).mkdir(), 2, "holds no audio file"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_leave_nothing_behind(audiosep, kind):
    make, expected, message = BAD_FILES[kind]
    make("in.wav")
    code, out, err = audiosep("separate", "in.wav", "-q", "drums", "-o", "out/deep")
    assert code == expected
    assert message in err
    assert err.count("Error: ") == 1 and "Traceback" not in err
    assert out == ""
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-q", "", "-o", "out"], "query is empty"),
        (["-q", "x" * 600, "-o", "out"], "at most 512"),
        (["-q", "a", "-q", "a", "-o", "out"], "twice"),
        (["-q", "a", "-o", "out", "--model", "nope"], "no model is called 'nope'"),
        (["-q", "a", "-o", "out", "--device", "abacus"], "abacus"),
        (["-q", "a"], "--output"),
        (["-o", "out"], "--query"),
    ],
)
def test_misuse_exits_with_2(audiosep, arguments, message):
    write("a.wav")
    code, _, err = audiosep("separate", "a.wav", *arguments)
    assert code == 2
    assert message in err
    assert not Path("out").exists()


def test_an_output_folder_that_cannot_be_made(audiosep):
    write("a.wav")
    Path("out").write_text("a file is in the way")
    code, _, err = audiosep("separate", "a.wav", "-q", "drums", "-o", "out")
    assert code == 2
    assert "cannot be written to" in err
    assert Path("out").read_text() == "a file is in the way"


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    audio = write(tmp_path / "long.wav", frames=20 * RATE)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
        f"sys.argv = ['audiosep', 'separate', {str(audio)!r}, '-q', 'drums', '-o', "
        f"{str(tmp_path / 'out')!r}];"
        "from audiosep_core.commands import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_clipping_is_said(audiosep):
    write("loud.wav", level=2.0, subtype="PCM_16")
    code, out, err = audiosep(
        "separate", "loud.wav", "-q", "a person speaking", "-o", "out", "--residual", "--json"
    )
    assert code == 0
    stems = json.loads(out)["files"][0]["stems"]
    clipped = [stem for stem in stems if stem["peak"] > 1]
    assert err.count("clipped:") == len([stem for stem in stems if stem["clipped"]])
    assert all(stem["clipped"] > 0 for stem in clipped)
    code, _, err = audiosep("separate", "loud.wav", "-q", "drums", "-o", "out2", "--format", "wav")
    assert code == 0 and "clipped" not in err
    assert soundfile.info("out2/loud/drums.wav").subtype == "FLOAT"


def test_stems_never_share_a_name():
    queries = ["Dog!", "dog", "犬", "  ", "a" * 200, "a" * 201, "residual sound", "Residual"]
    names = stem_names(queries)
    assert len({name.casefold() for name in names.values()}) == len(queries) + 1
    assert all(len(name) < 100 for name in names.values())
    assert names["residual"] == "residual"


def test_two_inputs_of_one_name_are_refused_and_the_others_done(audiosep):
    for name in ("x/a.wav", "y/a.wav", "x/b.wav", "y/b.wav", "y/c.wav"):
        write(name, 4000)
    code, out, err = audiosep("separate", "x", "y", "-q", "drums", "-o", "out")
    assert code == 2
    for name in ("x/a.wav", "y/a.wav", "x/b.wav", "y/b.wav"):
        assert f"{name} and " in err
    assert out.split() == ["out/c/drums.wav"]
    assert files_in("out") == ["c/drums.wav"]


def test_inputs_that_differ_in_their_endings_keep_them(audiosep):
    write("in/a.wav", 4000)
    write("in/a.flac", 4000)
    write("in/b.wav", 4000)
    assert audiosep("separate", "in", "-q", "drums", "-o", "out")[0] == 0
    assert files_in("out") == ["a.flac/drums.flac", "a.wav/drums.wav", "b/drums.wav"]


def test_queries_and_models(audiosep):
    code, out, _ = audiosep("queries", "list", "--search", "guitar", "--json")
    assert code == 0 and "Acoustic guitar" in json.loads(out)
    assert audiosep("queries", "add", "a kettle whistling")[0] == 0
    assert audiosep("queries", "add", " ")[0] == 2
    code, out, _ = audiosep("models", "--json")
    assert code == 0 and "mini" in {row["name"] for row in json.loads(out)}
    assert json.loads(audiosep("models", "info", "--json")[1])["format_version"] == 1


@pytest.mark.parametrize("command", [[], ["separate"], ["queries", "add"], ["queries", "pack"]])
def test_examples_keep_their_lines(audiosep, command):
    _, out, _ = audiosep(*command, "--help")
    assert "\\b" not in out
    assert re.search(r"Examples?:\n +audiosep ", out)


def test_help_has_examples_and_commands_run_without_torch():
    for arguments in (["--help"], ["separate", "--help"], ["queries", "--help"], ["--version"]):
        code = (
            f"import sys; sys.argv = ['audiosep', *{arguments!r}];"
            "from audiosep_core.commands import main\n"
            "try: main()\n"
            "finally: assert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if arguments in (["--help"], ["separate", "--help"]):
            assert "Examples:" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_interrupting_leaves_nothing_behind(tmp_path):
    audio = write(tmp_path / "long.wav", frames=120 * RATE)
    code = (
        "import os, signal, sys; from audiosep_core.files import job\n"
        "from audiosep_core.commands import main\n"
        "write = job._write\n"
        "def interrupt(*arguments):\n"
        "    write(*arguments); os.kill(os.getpid(), signal.SIGINT)\n"
        "job._write = interrupt\n"
        f"sys.argv = ['audiosep', 'separate', {str(audio)!r}, '-q', 'drums', '-o', "
        f"{str(tmp_path / 'out')!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_demo_goes_without_a_picture(audiosep, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = audiosep("demo", "--device", "cpu")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("spectrograms")]
    assert "not drawn: a picture needs the package 'matplotlib'" in line
    assert len(files_in("audiosep-demo")) == 4
    assert not Path("audiosep-demo/spectrograms.png").exists()
