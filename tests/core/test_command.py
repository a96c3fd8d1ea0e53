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

from audiosep_core.batch import stem_names
from audiosep_core.catalogue import plan
from audiosep_core.errors import AudioPathError
from audiosep_core.journal import JOURNAL

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


def test_two_inputs_of_one_name_are_refused(tmp_path):
    first, second = write(tmp_path / "x/a.wav"), write(tmp_path / "y/a.wav")
    with pytest.raises(AudioPathError, match="would both be written"):
        plan([first, second], tmp_path / "out")


def test_queries_and_models(audiosep):
    code, out, _ = audiosep("queries", "list", "--search", "guitar", "--json")
    assert code == 0 and "Acoustic guitar" in json.loads(out)
    assert audiosep("queries", "add", "a kettle whistling")[0] == 0
    assert audiosep("queries", "add", " ")[0] == 2
    code, out, _ = audiosep("models", "--json")
    assert code == 0 and json.loads(out)[0]["name"] == "mini"
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
        "import os, signal, sys; from audiosep_core import batch\n"
        "from audiosep_core.commands import main\n"
        "write = batch._write\n"
        "def interrupt(*arguments):\n"
        "    write(*arguments); os.kill(os.getpid(), signal.SIGINT)\n"
        "batch._write = interrupt\n"
        f"sys.argv = ['audiosep', 'separate', {str(audio)!r}, '-q', 'drums', '-o', "
        f"{str(tmp_path / 'out')!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
