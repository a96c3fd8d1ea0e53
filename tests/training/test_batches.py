"""Batches are a function of seed, process and number; no clip doubles, a bad one is replaced."""

import itertools
import json

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from training.batches import BatchStream, CutClip, DataError, Process, mix_clips
from training.config import ConfigError, MixingConfig
from training.corpus.store import Corpus
from training.corpus_batches import CorpusBatches
from training.list_batches import ListBatches, list_validation
from training.lists import read_list
from training.queries import PhraseBook


def take(source, count, first=0, reader=0, readers=1):
    return list(itertools.islice(source.batches(first, reader, readers), count))


def same(one, other):
    return all(
        torch.equal(one[name], other[name]) if torch.is_tensor(one[name]) else True for name in one
    )


@pytest.fixture
def items(clip_list):
    return read_list(clip_list).items


@pytest.mark.parametrize(("processes", "batch"), [(1, 4), (2, 4), (2, 2), (4, 2)])
def test_an_epoch_is_every_clip_once(items, tiny, processes, batch):
    config = tiny(f"data.batch={batch}")
    steps = 16 // (processes * batch)
    epochs = []
    for epoch in range(2):
        found = [
            caption
            for rank in range(processes)
            for one in take(
                ListBatches(items, config, Process(rank, processes)), steps, epoch * steps
            )
            for caption in one["captions"]
        ]
        assert sorted(found) == sorted(item.caption for item in items)
        epochs.append(found)
    assert epochs[0] != epochs[1]


def test_left_over_clips_differ(items, tiny):
    config = tiny("data.batch=6")
    seen = [
        frozenset(c for one in take(ListBatches(items, config, Process()), 2, 2 * e)
                  for c in one["captions"])
        for e in range(6)
    ]  # fmt: skip
    assert all(len(epoch) == 12 for epoch in seen) and len(set(seen)) > 1


def test_gains_change_from_epoch_to_epoch(items, tiny):
    """The released code seeds its gains by the batch's number within the epoch."""
    config = tiny("data.batch=4", "mixing.max_mix_num=2")
    levels = {item.caption: [] for item in items}
    for one in take(ListBatches(items, config, Process()), 4 * 4):
        noise = one["mixture"] - one["target"]
        for caption, level in zip(one["captions"], noise.std((1, 2)), strict=True):
            levels[caption].append(float(level))
    assert all(len(set(np.round(found, 4))) > 1 for found in levels.values())


def test_background_is_what_follows_in_the_batch(rng):
    clips = [
        CutClip((0.05 * rng.standard_normal(500)).astype(np.float32), f"{n}") for n in range(5)
    ]
    rngs = [np.random.default_rng(n) for n in range(5)]
    batch = mix_clips(clips, rngs, MixingConfig(max_mix_num=4), 1.0, [])
    noise = (batch["mixture"] - batch["target"])[:, 0].numpy()
    numbers = set()
    for place in range(5):
        others = np.stack([clips[(place + step) % 5].audio for step in range(5)], 1)
        weights, residual, *_ = np.linalg.lstsq(others, noise[place], rcond=None)
        used = np.abs(weights) > 1e-3
        # Neighbours without a gap, from the next on, and never the target itself.
        numbers.add(int(used.sum()))
        assert residual < 1e-6 and list(used) == [False] + [n < used.sum() for n in range(4)]
    assert numbers <= {1, 2, 3} and len(numbers) > 1


def test_hybrid_queries(items, tiny):
    for ratio, low, high in ((1.0, 0, 0), (0.0, 40, 40), (0.5, 8, 32)):
        config = tiny(f"query.text_ratio={ratio}", "query.encoder=clap", "data.batch=2")
        by_sound = sum(b["by_sound"] for b in take(ListBatches(items, config, Process()), 40))
        assert low <= by_sound <= high


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(items, tiny, workers):
    source = ListBatches(items, tiny(), Process())
    loader = DataLoader(BatchStream(source, 3), batch_size=None, num_workers=workers)
    for one, other in zip(itertools.islice(loader, 5), take(source, 5, 3), strict=True):
        assert same(one, other) and one["captions"] == other["captions"]


def test_corpus_batches_ask_for_both_sources(corpus, tiny):
    store = Corpus(corpus)
    source = CorpusBatches(store, PhraseBook(store), tiny().data, 0, Process())
    one, again, other = (
        *take(source, 1, 7),
        *take(source, 1, 0, reader=7, readers=9),
        *take(source, 1, 8),
    )
    assert same(one, again) and not same(one, other)
    assert torch.equal(one["mixture"][0], one["mixture"][1])
    assert torch.allclose(one["target"][0] + one["target"][1], one["mixture"][0], atol=1e-6)
    assert torch.allclose(one["condition"].norm(dim=1), torch.ones(4))
    elsewhere = CorpusBatches(store, PhraseBook(store), tiny().data, 0, Process(1, 2))
    assert not same(one, take(elsewhere, 1, 7)[0])
    with pytest.raises(ConfigError, match="must be even"):
        CorpusBatches(store, PhraseBook(store), tiny("data.batch=3").data, 0, Process())


@pytest.fixture
def spoilt(clip_list, tmp_path):
    """The list with two files that headers do not give away, and one that is missing."""
    rows = json.loads(clip_list.read_text())["data"]
    for row in rows:
        row["wav"] = str(clip_list.parent / row["wav"])
    audio = np.full(8_000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", audio, 32_000, "FLOAT")
    for place, name in ((1, "nan"), (5, "nan"), (9, "missing")):
        rows[place]["wav"] = str(tmp_path / f"{name}.wav")
    (tmp_path / "spoilt.json").write_text(json.dumps({"data": rows}))
    return tmp_path / "spoilt.json"


def test_bad_clips_are_replaced_and_counted_once(spoilt, tiny):
    config = tiny("data.batch=2")
    items = read_list(spoilt).items
    batches = take(ListBatches(items, config, Process()), 24)
    bad = [sentence for one in batches for sentence in one["bad"]]
    assert len(bad) == 3 and sum("nan.wav" in sentence for sentence in bad) == 2
    assert all(torch.isfinite(one["mixture"]).all() for one in batches)
    # A resumed run has not met them yet; its batches are the same all the same.
    for one, other in zip(
        batches[9:], take(ListBatches(items, config, Process()), 15, 9), strict=True
    ):
        assert same(one, other) and one["captions"] == other["captions"]


def test_nothing_but_bad_clips_ends(spoilt, tiny):
    items = [item for item in read_list(spoilt).items if not item.wav.is_file()] * 4
    with pytest.raises(DataError, match=r"missing\.wav the last"):
        take(ListBatches(items, tiny(), Process()), 1)


def test_too_few_clips(items, tiny):
    with pytest.raises(DataError, match="hold 16 clips, one step needs 20"):
        ListBatches(items, tiny("data.batch=10"), Process(0, 2))


def test_validation_is_fixed_and_shared_out(spoilt, tiny):
    items = read_list(spoilt).items
    config = tiny("data.validation_count=16")
    shares = [list(list_validation(items, config, Process(rank, 2))) for rank in range(2)]
    alone = list(list_validation(items, config, Process()))
    captions = [one["captions"][0] for one in alone]
    # Three unusable clips spoil the mixtures that they are in: as target, and as background.
    assert len(captions) == 10
    assert sorted(captions) == sorted(o["captions"][0] for share in shares for o in share)
    for one in alone:
        target, rest = one["target"], one["mixture"] - one["target"]
        assert target.square().mean() == pytest.approx(float(rest.square().mean()), rel=1e-3)
    again = list_validation(items, config, Process())
    assert all(same(one, other) for one, other in zip(alone, again, strict=True))
