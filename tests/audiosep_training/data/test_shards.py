"""Shards are written so that an interruption costs nothing, and read so that nothing doubles."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from audiosep_core.video import read_frames
from audiosep_training.data.batches import DataError, Process
from audiosep_training.data.clips import ClipFormat
from audiosep_training.data.lists import ListedClip, read_clip_list
from audiosep_training.data.shard_batches import ShardBatches
from audiosep_training.data.shards import INDEX, Packing, ShardError, find_shards, write_shards

FORMAT = ClipFormat(32_000, 0, 3_200)


def digest(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def items(clip_list):
    return read_clip_list(clip_list).items


def write(items, folder, size=4, **packing):
    steps = write_shards(items, folder, Packing(size, **packing), FORMAT)
    return [bad for _, bads in steps for bad in bads]


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
    steps = write_shards(items, tmp_path / "cut", Packing(4), FORMAT)
    list(itertools.islice(steps, complete))
    (tmp_path / "cut").mkdir(exist_ok=True)
    (tmp_path / "cut" / ".shard-000003.tar.0badcafe.part").write_bytes(b"half")
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
    bad = write([*items[:3], ListedClip(tmp_path / "short.wav", "x")], tmp_path / "shards", 2)
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


def test_long_clips_are_cut_when_packed(tmp_path):
    """The same piece whenever it is written; short clips stay the files that they were."""
    import webdataset

    rng = np.random.default_rng(0)
    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    audio = rng.uniform(-0.5, 0.5, (3 * 32_000, 2))
    soundfile.write(long, audio, 32_000, subtype="PCM_16")
    soundfile.write(short, audio[:32_000], 32_000, subtype="FLOAT")
    items = [ListedClip(short, "short"), ListedClip(long, "long")]
    for name in ("one", "two"):
        write(items, tmp_path / name, longest=1.5)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (shard,) = find_shards([str(tmp_path / "one")])
    first, second = webdataset.WebDataset([shard.url], shardshuffle=False)
    assert first["wav"] == short.read_bytes()
    (tmp_path / "piece.flac").write_bytes(second["flac"])
    piece, rate = soundfile.read(tmp_path / "piece.flac", dtype="int16")
    whole = soundfile.read(long, dtype="int16")[0]
    (start,) = np.flatnonzero((whole == piece[0]).all(1))
    assert rate == 32_000 and start > 0
    assert np.array_equal(piece, whole[start : start + 48_000])
    with pytest.raises(ShardError, match="shards of other longest"):
        write(items, tmp_path / "one", longest=2.0)


def test_a_reader_holds_so_many_bytes(items, tmp_path, config, monkeypatch):
    write(items, tmp_path, 16)
    shards = find_shards([str(tmp_path)])
    data = dataclasses.replace(config.data, shuffle=16, shuffle_megabytes=1, workers=1)
    source = ShardBatches(shards, dataclasses.replace(config, data=data), Process())
    pulled = itertools.count()

    def endless():
        for number in pulled:
            yield {"__key__": str(number), "wav": bytes(400_000)}

    samples = endless()
    assert len(source._window(samples)) == 3 and next(pulled) == 3
    small = iter([{"wav": b"x"}] * 40)
    assert len(source._window(small)) == 16


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_videos_are_packed_as_pictures(items, tmp_path, tiny):
    video = tmp_path / "video.mkv"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=3:s=96x64:r=10"]
    subprocess.run([*line, "-c:v", "ffv1", str(video)], check=True)
    shown = [dataclasses.replace(item, video=video) for item in items[:2]]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = dataclasses.replace(items[2], video=tmp_path / "broken.mp4")
    bad = write([*shown, broken, items[3]], tmp_path / "shards", frames=32)
    assert len(bad) == 1 and "broken.mp4 cannot be read as a video" in bad[0]
    config = tiny("data.batch=3", "query.encoder=clip", "query.video_ratio=1.0")
    source = ShardBatches(find_shards([str(tmp_path / "shards")]), config, Process())
    batch = next(source.batches(0, 0, 1))
    frames = read_frames(video, 32)
    for caption, found in zip(batch["captions"], batch["videos"], strict=True):
        if caption == items[3].caption:
            assert found == ""
        else:
            assert np.array_equal(found.numpy(), frames)
    assert len(batch["videos"]) == 3
