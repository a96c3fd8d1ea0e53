"""``audiosep evaluate`` from the command line, with the model that ships."""

import json
import sys

import numpy as np
import pytest

from audiosep_core.demo import demo_sources
from audiosep_core.signal.metrics import sdr_improvement, si_sdr
from audiosep_training.evaluation.sets.benches import BENCHES
from plugin_bridge.commands.bench_latency import read_items


def test_help_names_all_benches(audiosep):
    code, out, _ = audiosep("evaluate", "--help")
    assert code == 0 and "Examples:" in out
    assert all(name in out for name in BENCHES)
    code, out, _ = audiosep("evaluate", "audiocaps", "--help")
    assert code == 0 and "--queries" in out and "deepfilternet3" in out


def test_stems_of_the_demo(audiosep, demo_stems, separator):
    code, out, err = audiosep(
        "evaluate", "stems", "--data", demo_stems, "--device", "cpu", "-o", "out", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    rows = {row["group"]: row for row in report["rows"]}
    sources, rate = demo_sources()
    mixture = np.sum(list(sources.values()), axis=0)
    for query, source in sources.items():
        stem = separator.separate(mixture, rate, [query])[query]
        expected = sdr_improvement(source.ravel(), stem.ravel(), mixture.ravel())
        assert rows[query]["sdri"] == pytest.approx(expected, abs=0.01)
        assert rows[query]["si_sdr"] == pytest.approx(
            si_sdr(source.ravel(), stem.ravel()), abs=0.01
        )
    assert rows["all"]["items"] == 2
    assert {path.name for path in demo_stems.parent.joinpath("out").iterdir()} == {
        "scores.jsonl",
        "report.json",
        "report.png",
        "items.csv",
    }
    assert json.loads((demo_stems.parent / "out/report.json").read_text()) == report


def test_a_report_without_a_picture(audiosep, demo_stems, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = audiosep(
        "evaluate", "stems", "--data", demo_stems, "--compare", "unprocessed", "-o", "out"
    )
    assert code == 0
    assert "no report.png: a picture needs the package 'matplotlib'" in err
    assert (demo_stems.parent / "out/report.json").exists()


def test_a_table_side_by_side(audiosep, demo_stems):
    code, out, err = audiosep(
        "evaluate", "stems", "--data", demo_stems, "--compare", "unprocessed",
        "--compare", "copy=cp {mixture} {output}", "--metric", "sdri", "--metric", "bss_sdr",
    )  # fmt: skip
    assert code == 0, err
    assert out.splitlines()[0].split() == [
        "group", "separator", "items", "SDRi", "dB", "BSS", "SDR", "dB",
    ]  # fmt: skip
    last = [line.split() for line in out.splitlines()[-3:]]
    assert last[0][:3] == ["all", "mini", "2"] and float(last[0][3]) > 5
    assert last[1][0] == "unprocessed" and last[1][2] == last[2][2] == "0.00"
    assert "\x1b" not in out


def test_the_papers_figures_stand_below(audiosep, tmp_path, write, sound):
    (tmp_path / "clotho_eval.csv").write_text("idx,caption\n0,A piano plays\n")
    write(tmp_path / "segment-0.wav", sound(0))
    write(tmp_path / "mixture-0.wav", sound(0) + sound(1))
    code, out, err = audiosep("evaluate", "clotho", "--data", tmp_path)
    assert code == 0, err
    assert out.splitlines()[-1].split() == ["AudioSep,", "paper", "6.85", "5.24"]


def test_items_that_fail_are_listed_and_counted(audiosep, tmp_path, write, sound):
    captions = ["A piano plays", "word " * 1000, "Rain"]
    lines = [f"{index},{caption}" for index, caption in enumerate(captions)]
    (tmp_path / "clotho_eval.csv").write_text("idx,caption\n" + "\n".join(lines))
    for index in range(2):
        write(tmp_path / f"segment-{index}.wav", sound(0))
        write(tmp_path / f"mixture-{index}.wav", sound(0) + sound(1))
    code, out, err = audiosep("evaluate", "clotho", "--data", tmp_path, "--json")
    assert code == 1
    assert "failed: item 1, mini: " in err
    assert "failed: item 2, mini: " in err and "mixture-2.wav does not exist" in err
    assert "2 item(s) failed" in err and "Traceback" not in err
    report = json.loads(out)
    assert report["rows"][0]["items"] == 1 and len(report["failures"]) == 2


def test_when_all_fails_the_csv_says_why(audiosep, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "clotho_eval.csv").write_text("idx,caption\n0,Rain [red]falls\n")
    code, out, err = audiosep("evaluate", "clotho", "--data", "set", "-o", "out")
    assert (code, out) == (1, "")
    assert "no item could be measured" in err
    assert "mixture-0.wav does not exist" in (tmp_path / "out/items.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("stems", "--data", "empty"), 2, "empty holds no item of stems"),
        (("stems", "--data", "nowhere"), 2, "'nowhere' does not exist"),
        (("clotho", "--data", "empty"), 2, "clotho_eval.csv does not exist"),
        (("stems", "--data", "empty", "--model", "maxi"), 2, "no model is called 'maxi'"),
        (("stems", "--data", "empty", "--model", "mini", "--model", "mini"), 2, "two separators"),
        (("stems", "--data", "empty", "--compare", "x"), 2, "--compare 'x' is neither"),
        (("speech-enhancement", "--data", "empty"), 2, "empty holds no item"),
        (("build", "stems", "--raw", "empty", "-o", "x"), 2, "'stems' is not one of"),
        (("build", "esc50", "--raw", "empty", "-o", "x"), 2, "empty holds no audio file"),
    ],
)
def test_mistakes_end_in_a_sentence(arguments, code, fault, audiosep, tmp_path):
    (tmp_path / "empty").mkdir()
    got, _, err = audiosep("evaluate", *arguments)
    assert (got, "Traceback" in err) == (code, False)
    assert fault in err


def test_a_set_of_a_corpus_is_what_the_latency_bench_reads(audiosep, corpus, tmp_path):
    code, out, err = audiosep(
        "evaluate", "build", "corpus", "--raw", corpus, "-o", "items", "--count", 3, "--seconds", 1
    )
    assert code == 0, err
    assert out.strip() == "3 mixtures in items, 0 skipped"
    items = list(read_items(tmp_path / "items"))
    assert len(items) == 3 and items[0].sounds.load().mixture.shape == (1, 32_000)
    arguments = ("--count", 3, "--json")
    fresh = audiosep("evaluate", "corpus", "--data", corpus, "--seconds", 1, *arguments)[1]
    assert json.loads(audiosep("evaluate", "corpus", "--data", "items", *arguments)[1]) == (
        json.loads(fresh)
    )


def test_speech_enhancement(audiosep, corpus, tmp_path):
    code, out, err = audiosep(
        "evaluate", "speech-enhancement", "--data", corpus, "--count", 4, "--seconds", 1,
        "--compare", "unprocessed", "-o", "out", "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    assert report["metrics"] == ["sdri", "si_sdr", "pesq", "stoi"]
    untouched = [row for row in report["rows"] if row["separator"] == "unprocessed"]
    assert [round(row["si_sdr"]) for row in untouched[:-1]] == [0, 5, 10, 15]
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")


def test_many_classes_are_drawn_as_a_curve(audiosep, tmp_path, write, sound):
    lines = ["idx,caption"]
    for index in range(14):
        write(tmp_path / "set" / f"segment-{index}.wav", sound(index, 0.1))
        write(tmp_path / "set" / f"mixture-{index}.wav", sound(index, 0.1) + sound(20, 0.1))
        lines.append(f"{index},class {index}")
    (tmp_path / "set" / "esc50_eval.csv").write_text("\n".join(lines))
    code, out, err = audiosep("evaluate", "esc50", "--data", "set", "-o", "out")
    assert code == 0, err
    assert len(out.splitlines()) == 3 and "class 3" not in out
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")
