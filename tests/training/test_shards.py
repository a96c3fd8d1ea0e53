"""Shards are written so that an interruption costs nothing, and read so that nothing doubles."""

import dataclasses
import itertools
import json
import os

import numpy as np
import pytest
import soundfile

from training.batches import DataError, Process
from training.clips import ClipFormat
from training.lists import Item, read_list
from training.shard_batches import ShardBatches
from training.shards import INDEX, ShardError, find_shards, write_shards

FORMAT = ClipFormat(32_000, 0, 3_200)


def digest(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def items(clip_list):
    return read_list(clip_list).items


def write(items, folder, size=4):
    return [bad for _, bads in write_shards(items, folder, size, FORMAT) for bad in bads]


def test_what_other_tools_read(items, tmp_path):
    import webdataset

    write(items, tmp_path / "shards", 5)
    urls = [shard.url for shard in find_shards([str(tmp_path / "shards")])]
    assert len(urls) == 4
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["json"]["caption"] for sample in samples] == [item.caption for item in items]
    assert samples[3]["wav"] is not None and samples[3]["__key__"] == "000000003"


@pytest.mark.parametrize("complete", range(5))
def test_an_interrupted_writing_goes_on(items, tmp_path, complete):
    write(items, tmp_path / "whole")
    steps = write_shards(items, tmp_path / "cut", 4, FORMAT)
    list(itertools.islice(steps, complete))
    (tmp_path / "cut").mkdir(exist_ok=True)
    (tmp_path / "cut" / "shard-000003.tar.partial").write_bytes(b"half")
    if complete < 4:
        with pytest.raises(ShardError, match=r"index\.json|of 4 shards"):
            find_shards([str(tmp_path / "cut")])
    write(items, tmp_path / "cut")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_shard_without_its_index_entry_is_written_again(items, tmp_path):
    write(items, tmp_path / "whole")
    write(items, tmp_path / "cut")
    index = json.loads((tmp_path / "cut" / INDEX).read_text())
    del index["shards"]["shard-000001.tar"]
    (tmp_path / "cut" / INDEX).write_text(json.dumps(index))
    (tmp_path / "cut" / "shard-000001.tar").write_bytes(b"half")
    write(items, tmp_path / "cut")
    assert find_shards([str(tmp_path / "cut")])[1].samples == 4
    for name, content in digest(tmp_path / "whole").items():
        if name != INDEX:
            assert (tmp_path / "cut" / name).read_bytes() == content


def test_other_clips_or_sizes_are_refused(items, tmp_path):
    write(items, tmp_path)
    with pytest.raises(ShardError, match="shards of other clips"):
        write(items[1:], tmp_path)
    with pytest.raises(ShardError, match="shards of other size"):
        write(items, tmp_path, 5)
    with pytest.raises(ShardError, match=r"holds no index\.json"):
        find_shards([str(tmp_path.parent)])
    assert [shard.url for shard in find_shards(["http://host/a-{00..02}.tar"])] == [
        f"http://host/a-{number:02d}.tar" for number in range(3)
    ]


def test_bad_clips_are_left_out_and_named(items, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 32_000)
    bad = write([*items[:3], Item(tmp_path / "short.wav", "x")], tmp_path / "shards", 2)
    assert len(bad) == 1 and "short.wav" in bad[0]
    assert [shard.samples for shard in find_shards([str(tmp_path / "shards")])] == [2, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits files by a resource of Unix")
def test_a_full_disk_leaves_whole_shards(items, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(ShardError, match="make room and run it again"):
            write(items, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*.tar*"))
    assert not write(items, tmp_path)


@pytest.fixture
def config(tiny):
    return tiny("data.batch=2", "data.shuffle=3", "mixing.max_mix_num=2")


def captions(shards, config, process=Process(), first=0, count=2, reader=0, readers=1):  # noqa: B008
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=readers))
    source = ShardBatches(shards, config, process)
    batches = itertools.islice(source.batches(first, reader, readers), count)
    return [caption for batch in batches for caption in batch["captions"]]


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 1), (2, 2), (1, 4)])
def test_nothing_is_read_twice_within_an_epoch(items, tmp_path, config, processes, workers):
    write(items, tmp_path, 2)
    shards = find_shards([str(tmp_path)])
    count = 16 // (2 * processes * workers)
    epochs = []
    for epoch in range(2):
        found = []
        for rank, reader in itertools.product(range(processes), range(workers)):
            first = epoch * count * workers
            found += captions(
                shards, config, Process(rank, processes), first, count, reader, workers
            )
        assert sorted(found) == sorted(item.caption for item in items)
        epochs.append(found)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("index", [True, False])
def test_resuming_reads_on_where_it_stopped(items, tmp_path, config, index):
    write(items, tmp_path, 3)
    shards = find_shards([str(tmp_path)])
    if not index:
        shards = [dataclasses.replace(shard, samples=-1) for shard in shards]
    whole = captions(shards, config, count=20)
    for first in (1, 5, 8, 13):
        assert captions(shards, config, first=first, count=20 - first) == whole[2 * first :]


def test_workers_take_turns(items, tmp_path, config):
    """After a resume worker 0 goes on where the worker whose turn it was had stopped."""
    write(items, tmp_path, 2)
    shards = find_shards([str(tmp_path)])
    turns = [captions(shards, config, count=4, reader=w, readers=2) for w in range(2)]
    later = [captions(shards, config, first=3, count=2, reader=w, readers=2) for w in range(2)]
    assert later[0] == turns[1][2:6] and later[1] == turns[0][4:8]


def test_too_few_shards_and_broken_ones(items, tmp_path, config):
    write(items, tmp_path, 8)
    shards = find_shards([str(tmp_path)])
    with pytest.raises(DataError, match="2 shards cannot feed 4 readers"):
        captions(shards, config, Process(0, 2), readers=2)
    path = tmp_path / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:3_000])
    with pytest.raises(DataError, match=r"shard-000001\.tar cannot be read"):
        captions(shards, config, count=8)
