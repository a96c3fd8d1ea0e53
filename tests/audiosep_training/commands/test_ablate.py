"""One training at several shares of text, compared in words."""

import json

import numpy as np
import pytest
import torch

from audiosep_training.query_encoders import base
from audiosep_training.query_encoders.base import FrozenEncoder
from audiosep_training.run import audiosep as recipe


class Senses(FrozenEncoder):
    """Words, sounds and videos as vectors of their own; notes what it was asked by."""

    def __init__(self):
        super().__init__("senses", 384)
        self.asked = []

    def embed_sounds(self, audio, sample_rate):
        self.asked.append("sound")
        return torch.ones(len(audio), 384) / 384**0.5

    def _encode_texts(self, texts):
        rows = [np.random.default_rng(len(text)).standard_normal(384) for text in texts]
        return np.stack(rows).astype(np.float32)

    def embed_queries(self, captions, videos):
        self.asked += ["video" if video else "text" for video in videos]
        return self.embed_texts(captions)


@pytest.fixture
def senses(monkeypatch):
    encoder = Senses()
    monkeypatch.setattr(recipe, "open_encoder", lambda query: encoder)
    assert base.FrozenEncoder is FrozenEncoder
    return encoder


def test_text_and_sound(senses, clip_list, tiny_file, audiosep, tmp_path):
    options = ["--list", clip_list, "--validation", clip_list, "--run", "runs", "--json"]
    options += ["--set", "query.encoder=clap", "--set", "run.steps=4"]
    shares = [part for share in (0, 0.5, 1) for part in ("--share", share)]
    code, out, error = audiosep("ablate", tiny_file, *options, *shares)
    assert code == 0, error
    results = json.loads(out)
    assert [result["text_share"] for result in results] == [0, 0.5, 1]
    assert all(np.isfinite(result["sdri"]) for result in results)
    assert {"text-0", "text-0.5", "text-1"} == {path.name for path in (tmp_path / "runs").iterdir()}
    # Of the first run all steps asked by sound, and validation in words.
    first = senses.asked[: senses.asked.index("text")]
    assert first == ["sound"] * 4
    # The same command finds all done.
    senses.asked.clear()
    code, again, _ = audiosep("ablate", tiny_file, *options, *shares)
    assert code == 0 and json.loads(again) == results and not senses.asked


def test_text_and_video(senses, clip_list, tiny_file, audiosep, tmp_path):
    rows = json.loads(clip_list.read_text())["data"]
    for row in rows:
        row["wav"] = str(clip_list.parent / row["wav"])
        row["video"] = "clip.mp4"
    (tmp_path / "list.json").write_text(json.dumps({"data": rows}))
    options = ["--list", "list.json", "--validation", "list.json", "--run", "runs"]
    options += ["--set", "query.encoder=clip", "--set", "run.steps=2", "--share", 0]
    code, out, error = audiosep("ablate", tiny_file, *options)
    assert code == 0 and "SDRi dB" in out, error
    # Two steps of four by video; two mixtures of validation in words.
    assert senses.asked == ["video"] * 8 + ["text"] * 2


def test_words_alone_cannot_be_shared(clip_list, tiny_file, audiosep):
    options = ["--list", clip_list, "--validation", clip_list, "--run", "runs"]
    code, _, error = audiosep("ablate", tiny_file, *options)
    assert code == 2 and "take a training with query.encoder = 'clap' or 'clip'" in error
