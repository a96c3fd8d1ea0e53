"""Batches are a function of seed, process and number; no clip doubles, a bad one is replaced."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from audiosep_training.config.schema import ConfigError, MixingConfig, QueryConfig
from audiosep_training.corpus.store import Corpus
from audiosep_training.data.batches import BatchStream, CutClip, DataError, Process, mix_clips
from audiosep_training.data.classes import CLASSES
from audiosep_training.data.corpus_batches import CorpusBatches
from audiosep_training.data.list_batches import ListBatches, list_validation
from audiosep_training.data.lists import read_clip_list
from audiosep_training.data.queries import PhraseBook


def take(source, count, first=0, reader=0, readers=1):
    return list(itertools.islice(source.batches(first, reader, readers), count))


def same(one, other):
    return all(
        torch.equal(one[name], other[name]) if torch.is_tensor(one[name]) else True for name in one
    )


@pytest.fixture
def items(clip_list):
    return read_clip_list(clip_list).items


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
    batch = mix_clips(clips, rngs, MixingConfig(max_mix_num=4), QueryConfig(), [])
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


@pytest.mark.parametrize("rule", ["energy", "peak", "factors"])
def test_partners_are_each_others_background(items, tiny, rule):
    config = tiny(f"mixing.rule={rule}", "mixing.factors=[0.5, 1.5]")
    (batch,) = take(ListBatches(items, config, Process()), 1)
    for row, other in enumerate(batch["partner"].tolist()):
        background = (batch["mixture"] - batch["target"])[row, 0]
        partner = batch["target"][other, 0]
        scale = (background @ partner) / (partner @ partner)
        assert torch.allclose(background, scale * partner, atol=1e-4), rule
    assert "partner" not in take(ListBatches(items, tiny("mixing.max_mix_num=3"), Process()), 1)[0]


def test_factors_are_drawn_for_each_source(items, tiny):
    config = tiny("mixing.rule=factors", "mixing.factors=[0.5, 1.5]")
    plain = tiny("mixing.rule=factors")
    one, other = (take(ListBatches(items, c, Process()), 1)[0] for c in (config, plain))
    factors = (one["target"].abs().amax((1, 2)) / other["target"].abs().amax((1, 2))).tolist()
    assert all(0.5 <= factor <= 1.5 for factor in factors) and len(set(factors)) == len(factors)


def test_balanced_batches_tell_their_classes(items, tiny, spoilt):
    labelled = [
        dataclasses.replace(item, caption=name)
        for item, name in zip(items, itertools.cycle(["Rain", "Music"]), strict=False)
    ]
    config = tiny("data.balance=true")
    batches = take(ListBatches(labelled, config, Process()), 4)
    numbers = {CLASSES["Rain"], CLASSES["Music"]}
    for batch in batches:
        for label, caption in zip(batch["classes"].tolist(), batch["captions"], strict=True):
            assert label in numbers and CLASSES[caption] == label
    assert same(batches[2], take(ListBatches(labelled, config, Process()), 1, first=2)[0])
    # What replaces a clip that cannot be used is of the same class.
    bad = [dataclasses.replace(item, caption="Rain") for item in read_clip_list(spoilt).items]
    for batch in take(ListBatches([*bad, *labelled[1::2]], config, Process()), 12):
        assert [CLASSES[caption] for caption in batch["captions"]] == batch["classes"].tolist()


def test_a_clip_is_heard_in_its_own_mixture(tmp_path, tiny, rng):
    """The same piece of both files, whatever is drawn."""
    rows = []
    for number in range(4):
        clean = 0.1 * rng.standard_normal(12_000)
        noise = 0.05 * np.sin(np.arange(12_000) * 0.1 * (number + 1))
        for name, audio in (("clean", clean), ("noisy", clean + noise)):
            soundfile.write(tmp_path / f"{name}{number}.wav", audio, 32_000, subtype="FLOAT")
        rows.append(
            {"wav": f"clean{number}.wav", "caption": "speech", "mixture": f"noisy{number}.wav"}
        )
    (tmp_path / "list.json").write_text(json.dumps({"data": rows}))
    items = read_clip_list(tmp_path / "list.json").items
    config = tiny("mixing.rule=factors")
    for batch in take(ListBatches(items, config, Process()), 3):
        noise = (batch["mixture"] - batch["target"])[:, 0]
        assert noise.abs().max() <= 0.0501 and noise.std() > 0.03
        assert "partner" not in batch
    (first, *_) = list_validation(items, config, Process())
    assert (first["mixture"] - first["target"]).abs().max() <= 0.0501
    soundfile.write(tmp_path / "noisy0.wav", np.zeros(11_000), 32_000)
    faults = [f for batch in take(ListBatches(items, config, Process()), 4) for f in batch["bad"]]
    assert len(faults) == 1 and "noisy0.wav is not as long as" in faults[0]


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
    items = read_clip_list(spoilt).items
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
    items = [item for item in read_clip_list(spoilt).items if not item.wav.is_file()] * 4
    with pytest.raises(DataError, match=r"missing\.wav the last"):
        take(ListBatches(items, tiny(), Process()), 1)


def test_too_few_clips(items, tiny):
    with pytest.raises(DataError, match="hold 16 clips, one step needs 20"):
        ListBatches(items, tiny("data.batch=10"), Process(0, 2))


def test_validation_is_fixed_and_shared_out(spoilt, tiny):
    items = read_clip_list(spoilt).items
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


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_so_many_are_asked_for_by_video(ratio):
    """Where there is one; each by a draw of its own that depends on its number alone."""
    clips = [CutClip(np.ones(8, np.float32), "a", Path(f"{row}.mp4")) for row in range(400)]
    clips[7] = CutClip(np.ones(8, np.float32), "a")
    query = QueryConfig(encoder="clip", video_ratio=ratio)
    batches = [
        mix_clips(clips, [np.random.default_rng([9, row]) for row in range(400)],
                  MixingConfig(), query, [])
        for _ in range(2)
    ]  # fmt: skip
    videos = batches[0]["videos"]
    assert videos == batches[1]["videos"] and videos[7] == ""
    assert sum(map(bool, videos)) / 400 == pytest.approx(ratio, abs=0.07)
    assert all(video in ("", f"{row}.mp4") for row, video in enumerate(videos))
