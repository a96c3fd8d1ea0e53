"""Fitting learns, resumes where it stopped, and draws reproducible mixtures."""

import argparse
import json

import numpy as np
import pytest
import torch

from audiosep_core.config import CONFIGS, SeparatorConfig
from training import fit
from training.corpus.store import Corpus, CorpusWriter, quantise
from training.pairs import PairSampler, held_out

TINY = SeparatorConfig(
    name="tiny",
    window=256,
    hop=80,
    widths=(4, 4, 4, 4, 4, 4),
    condition_size=384,
    magnitude_scale="log",
    projection=8,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Hisses called rain and tones called piano: separable by anyone."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with CorpusWriter(folder) as writer:
        for split in ("train", "test"):
            for number in range(6):
                hiss = (0.1 * rng.standard_normal(40_000)).astype(np.float32)
                tone = 0.2 * np.sin(np.arange(40_000) * rng.uniform(0.02, 0.1)).astype(np.float32)
                for label, domain, audio in (
                    ("rain", "sound events", hiss),
                    ("piano", "instruments", tone),
                ):
                    writer.add(
                        package="made-up",
                        path=f"{label}{number}.wav",
                        label=label,
                        domain=domain,
                        split=split,
                        licence="CC0-1.0",
                        audio=quantise(audio),
                    )
    return folder


def arguments(corpus, run, steps, **changes):
    values = {
        "corpus": str(corpus),
        "run": str(run),
        "config": "tiny",
        "steps": steps,
        "decay_steps": 10,
        "mixtures": 2,
        "cells": 2,
        "rate": 2e-3,
        "weight_decay": 0.01,
        "every": 50,
        "seed": 0,
        "threads": 1,
    }
    return argparse.Namespace(**{**values, **changes})


@pytest.fixture(autouse=True)
def tiny_config(monkeypatch):
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    monkeypatch.setattr(fit, "_VALIDATION_MIXTURES", 2)


def test_fitting_learns(corpus, tmp_path):
    fit.fit(arguments(corpus, tmp_path / "run", 100))
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [50, 100]
    assert log[1]["loss"] < log[0]["loss"] - 0.05
    assert np.isfinite(log[1]["sdri"])


def test_a_resumed_run_equals_an_uninterrupted_one(corpus, tmp_path):
    long = {"decay_steps": 40}
    fit.fit(arguments(corpus, tmp_path / "whole", 100, **long))
    # Cut short by asking for the first half alone, at the same learning rates.
    full_rate = fit.rate_at
    try:
        fit.rate_at = lambda step, peak, steps, decay: full_rate(step, peak, 100, decay)
        fit.fit(arguments(corpus, tmp_path / "cut", 50, **long))
    finally:
        fit.rate_at = full_rate
    fit.fit(arguments(corpus, tmp_path / "cut", 100, **long))
    whole, cut = (
        torch.load(tmp_path / run / "ema.pt", weights_only=True)["state_dict"]
        for run in ("whole", "cut")
    )
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_learning_rate_rises_stays_and_falls():
    rates = [fit.rate_at(step, 1.0, 1000, 200) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01) and rates[99] == rates[500] == 1.0
    assert rates[900] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.005)


def test_loss_is_lowest_for_the_target():
    target = torch.randn(2, 1, 1000)
    perfect = fit.separation_loss(target, target)
    assert (
        perfect < fit.separation_loss(target * 0.9, target) < fit.separation_loss(-target, target)
    )


def test_held_out_mixtures_are_reproducible_and_balanced(corpus):
    store = Corpus(corpus)
    first = list(held_out(store, 5, 8000, seed=3))
    again = list(held_out(store, 5, 8000, seed=3))
    for (one, query), (other, same) in zip(first, again, strict=True):
        assert np.array_equal(one.mixture, other.mixture) and query == same
        target, background = (source.audio for source in one.sources)
        assert np.mean(target**2) == pytest.approx(np.mean(background**2), rel=1e-3)
        assert one.sources[0].label != one.sources[1].label


def test_short_clips_are_placed_in_silence(corpus):
    sampler = PairSampler(Corpus(corpus), "train", 100_000)
    audio = sampler.source(np.random.default_rng(0)).audio
    assert audio.shape == (100_000,)
    assert 30_000 < np.count_nonzero(audio) <= 40_000
