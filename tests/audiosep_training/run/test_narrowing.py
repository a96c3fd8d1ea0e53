"""Narrower networks: what is left computes what it did, and what is not read goes first."""

import dataclasses
import json

import pytest
import torch

from audiosep_core.model.checkpoint import load_network
from audiosep_core.model.streaming_config import LIVE, MINI
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_training.config.schema import ConfigError
from audiosep_training.run.narrowing import _axes, batches, importance, narrowed, save

WIDE = {"widths": (6, 7, 9, 10), "recurrent": 32, "projection": 8}
NARROW = {"widths": (4, 6, 5, 8), "recurrent": 16, "projection": 8}


def network(config):
    """With statistics, shifts and scales that a training could have left."""
    torch.manual_seed(5)
    net = StreamingNetwork(config)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if "running_var" in name or name.endswith("norm.weight"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.ndim == 1:
                value.normal_(std=0.2)
        net.condition.film.weight.normal_(std=0.2)
    return net.eval()


def masks(net, frames=8):
    generator = torch.Generator().manual_seed(1)
    magnitude = torch.rand(2, 1, frames, net.config.bins, generator=generator)
    condition = torch.randn(2, net.config.condition_size, generator=generator)
    with torch.no_grad():
        return net(magnitude, condition)


def unread(net, goal):
    """Leave nothing that reads channels at random, so many that those of ``goal`` are read."""
    config, generator = net.config, torch.Generator().manual_seed(2)
    sizes = importance(net, [])
    wanted = {name: len(found) for name, found in importance(StreamingNetwork(goal), []).items()}
    dropped = {
        name: torch.randperm(len(found), generator=generator)[wanted[name] :]
        for name, found in sizes.items()
    }
    deepest = config.positions // 2 ** (len(config.widths) - 1)
    for name, channels in (("past.inputs", "past.enter"), ("past.state", "past.cell")):
        dropped[name] = (dropped[channels][:, None] * deepest + torch.arange(deepest)).flatten()
    for i, level in enumerate(reversed(range(len(config.widths) - 1))):
        skipped = dropped[f"down.{level}"] + config.widths[level]
        dropped[f"up.{i}.joined"] = torch.cat([dropped[f"up.{i}.up"], skipped])
    weights = net.state_dict()
    for name, axes in _axes(config).items():
        # Of a transposed convolution the first axis is read, of all others the second.
        axis = 0 if name.endswith(".up.weight") else 1
        if name in weights and len(axes) == 2 and name != "place" and axes[axis]:
            weights[name].index_fill_(axis, dropped[axes[axis]], 0)
    return dropped


@pytest.mark.parametrize("preset", [LIVE, MINI], ids=["live", "mini"])
def test_channels_that_nothing_reads_go_first(preset, corpus, streaming):
    wide, narrow = WIDE, NARROW
    if preset is MINI:
        wide, narrow = ({**part, "widths": (*part["widths"], 12)} for part in (WIDE, NARROW))
    wide, narrow = (dataclasses.replace(preset, **part) for part in (wide, narrow))
    net = network(wide)
    dropped = unread(net, narrow)
    config = dataclasses.replace(streaming(f"data.corpus={corpus}"), network=wide)
    before = masks(net)
    weighed = importance(net, batches(config, 3))
    for name, found in weighed.items():
        assert not found[dropped[name]].any() and (found > 0).sum() == len(found) - len(
            dropped[name]
        )
    assert torch.equal(masks(net), before) and not net.training
    less = narrowed(net, narrow, weighed).eval()
    assert less.config == narrow
    torch.testing.assert_close(masks(less), before, rtol=0, atol=1e-5)
    # What the test can see: any other choice gives other masks.
    other = narrowed(net, narrow, {name: -found for name, found in weighed.items()}).eval()
    assert (masks(other) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (4, 6, 5)}, "time_pooling"),
        ({"widths": (8, 6, 5, 9)}, "none larger"),
        ({"widths": (4, 5, 5, 8)}, "must differ"),
        ({"recurrent": 64}, "none larger"),
        ({"projection": 4}, "only widths and recurrent"),
        ({"look_ahead": 2}, "only widths and recurrent"),
    ],
)
def test_what_cannot_be_narrowed_to(changes, message):
    wide = dataclasses.replace(LIVE, **WIDE)
    net = StreamingNetwork(wide)
    with pytest.raises((ConfigError, ValueError), match=message):
        narrowed(net, dataclasses.replace(LIVE, **(NARROW | changes)), importance(net, []))


def test_the_command(corpus, streaming_file, audiosep, tmp_path):
    wide = network(dataclasses.replace(LIVE, **WIDE))
    save(wide, tmp_path / "wide.ckpt")
    given = [streaming_file, "wide.ckpt", "--corpus", corpus, "-o", "new/narrow.ckpt"]
    given += ["--set", "network.widths=[4,5,6,8]"]
    code, out, error = audiosep("narrow", *given, "--batches", 2)
    assert code == 0 and not out, error
    assert "audiosep train" in error
    net = load_network(tmp_path / "new" / "narrow.ckpt")
    assert net.config.widths == (4, 5, 6, 8) and net.config.recurrent == 8
    started = [streaming_file, "--init", "new/narrow.ckpt", "--corpus", corpus, "--run", "run"]
    code, _, error = audiosep("train", *started, *given[-2:], "--set", "run.steps=2")
    assert code == 0, error
    records = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert records[-1]["step"] == 2
    code, _, error = audiosep("narrow", *given, "--set", "network.widths=[8,5,6,8]")
    assert code == 2 and "none larger" in error
    code, _, error = audiosep("narrow", "audiosep-base", *given[1:-2])
    assert code == 2 and "no streaming network" in error
