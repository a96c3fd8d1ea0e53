"""Makes a streaming network narrower: keeps the channels that its loss depends on most.

A gate of one is put on every channel that can go. The square of the loss's derivative by the gate,
summed over batches, says to first order what the loss would be without the channel (Molchanov et
al. 2019, "Importance Estimation for Neural Network Pruning", eq. 8). What is left is to be trained
on: it starts far closer to the wide network than to fresh weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiosep_core.model.checkpoint import LIGHTNING_PREFIX
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import Site, StreamingNetwork
from audiosep_core.model.waveform_network import WaveformNetwork
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.data.batches import Batch, Process
from audiosep_training.data.data_module import corpus_source, open_corpus
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.sounds import SAMPLE_RATE
from audiosep_training.run.checkpoints import AtomicCheckpointIO
from audiosep_training.run.streaming import step_loss

#: Channels that go or stay together are a set; its name is that of the module that makes them.
_Sets = dict[str, Tensor]
_ENTERED, _KEPT = "past.enter", "past.cell"


def importance(net: StreamingNetwork, batches: Iterable[Batch], seed: int = 0) -> _Sets:
    """How much the loss depends on every channel.

    Args:
        net: The wide network; its weights and running statistics stay as they are.
        batches: Of a streaming network's training, all of one size.
        seed: Of what examples are taken to have behind them.

    Returns:
        For every set of channels one number each, float32.
    """
    config = net.config
    gates = {
        name: torch.ones(1, size, 1, 1, requires_grad=True) for name, size in _sizes(config).items()
    }
    hooks = []
    for module, name in _made_by(config).items():
        hooks.append(net.get_submodule(module).register_forward_hook(_gating(gates[name])))
    for module, name in {"down.0": "down.0", "past.leave": _KEPT}.items():
        gating = _gating_input(gates[name])
        hooks.append(net.get_submodule(module).register_forward_pre_hook(gating))
    found = {name: torch.zeros(gate.numel()) for name, gate in gates.items()}
    training, past = net.training, None
    separator = WaveformNetwork(net.eval(), SAMPLE_RATE)
    try:
        for step, batch in enumerate(batches):
            mixture = batch["mixture"][:, 0]
            past = mixture.new_zeros(len(mixture), config.recurrent) if past is None else past
            chance = Chance(mixture.device, seed, 0, step)
            asked = batch["condition"], batch["bandwidth"]
            loss, past = step_loss(separator, mixture, batch["target"][:, 0], *asked, past, chance)
            slopes = torch.autograd.grad(loss.loss, list(gates.values()))
            for name, slope in zip(gates, slopes, strict=True):
                found[name] += slope.flatten().square()
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return found


def narrowed(wide: StreamingNetwork, config: StreamingConfig, weighed: _Sets) -> StreamingNetwork:
    """The network with the channels that weigh most.

    Args:
        wide: The network.
        config: What it shall be; like its own, but for ``widths`` and ``recurrent``, none larger.
        weighed: What :func:`importance` found.

    Raises:
        ConfigError: As :func:`check`.
    """
    check(wide.config, config)
    goal = _sizes(config)
    kept = {name: each.topk(goal[name]).indices.sort().values for name, each in weighed.items()}
    axes = _axes(config)
    taken = kept | _joined(wide, kept, axes)
    narrow = StreamingNetwork(config)
    weights = {}
    for name, value in wide.state_dict().items():
        for axis, channels in enumerate(axes.get(name, ())):
            if channels:
                value = value.index_select(axis, taken[channels])
        weights[name] = value.clone()
    narrow.load_state_dict(weights)
    return narrow


def batches(
    config: TrainingConfig, count: int, report: Callable[[int, int], None] = lambda done, all: None
) -> Iterator[Batch]:
    """The first batches that a training would hear.

    Args:
        config: Of a streaming network, with ``data.corpus``.
        count: How many.
        report: Called with (done, count).

    Raises:
        DataError: The corpus cannot be used.
    """
    corpus = open_corpus(config.data.corpus)
    source = corpus_source(corpus, config, Process(0, 1), torch.device("cpu"))
    for done, batch in enumerate(islice(source.batches(0, 0, 1), count)):
        report(done, count)
        yield batch


def save(net: StreamingNetwork, path: Path) -> None:
    """Write a checkpoint, as ``audiosep train --init`` reads it.

    Raises:
        CheckpointError: It cannot be written.
    """
    weights = {f"{LIGHTNING_PREFIX}{name}": value for name, value in net.state_dict().items()}
    content = {"config": net.config.to_dict(), "state_dict": weights}
    AtomicCheckpointIO().save_checkpoint(content, path)


def check(wide: StreamingConfig, narrow: StreamingConfig) -> None:
    """Refuse what no network can be narrowed to.

    Raises:
        ConfigError: The networks differ in more than ``widths`` and ``recurrent``, or one of
            them would be wider.
    """
    others = {"name", "widths", "recurrent"}
    one, other = wide.to_dict(), narrow.to_dict()
    differing = [name for name in one if name not in others and one[name] != other[name]]
    if differing:
        raise ConfigError(
            f"only widths and recurrent can be narrowed, and {', '.join(differing)} differ from "
            f"the checkpoint's; set network.{differing[0]} = {one[differing[0]]}"
        )
    # Levels of one width share their channels: the block between them adds to what came in.
    if any(one == other for config in (wide, narrow) for one, other in pairwise(config.widths)):
        raise ConfigError(
            f"widths that follow each other must differ to be narrowed, not {list(wide.widths)} "
            f"to {list(narrow.widths)}; change network.widths"
        )
    before, after = _sizes(wide), _sizes(narrow)
    if before.keys() != after.keys() or any(after[name] > before[name] for name in before):
        raise ConfigError(
            f"widths {list(wide.widths)} and recurrent {wide.recurrent} cannot be narrowed to "
            f"{list(narrow.widths)} and {narrow.recurrent}: give as many widths, none larger"
        )


def _positions(config: StreamingConfig) -> int:
    """Positions at the deepest level."""
    return config.positions // 2 ** (len(config.widths) - 1)


def _levels(config: StreamingConfig) -> Iterable[tuple[int, int]]:
    """Number of each decoder and the level that it leads up to."""
    return enumerate(reversed(range(len(config.widths) - 1)))


def _sizes(config: StreamingConfig) -> dict[str, int]:
    """Channels of every set."""
    widths = config.widths
    squeezed = config.recurrent // _positions(config)
    sizes = {_ENTERED: squeezed, _KEPT: squeezed}
    for i, width in enumerate(widths):
        sizes |= {f"down.{i}": width, f"down.{i}.conv1": width}
    for i, level in _levels(config):
        sizes |= dict.fromkeys(
            (f"up.{i}.up", f"up.{i}.block.conv1", f"up.{i}.block"), widths[level]
        )
    return sizes


def _made_by(config: StreamingConfig) -> dict[str, str]:
    """Modules whose output is a set of channels."""
    own = {name: name for name in _sizes(config) if name != _KEPT}
    return own | {"past": f"down.{len(config.widths) - 1}"}


def _axes(config: StreamingConfig) -> dict[str, tuple[str, ...]]:
    """Sets along the axes of every weight; an empty name is an axis that stays as it is."""
    deepest = f"down.{len(config.widths) - 1}"
    axes: dict[str, tuple[str, ...]] = {"place": ("", "down.0")}

    def site(name: str, channels: str) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            axes[f"{name}.norm.{part}"] = (channels,)

    def block(name: str, inputs: str, outputs: str) -> None:
        site(f"{name}.site1", inputs)
        axes[f"{name}.conv1.conv.weight"] = (f"{name}.conv1", inputs)
        site(f"{name}.site2", f"{name}.conv1")
        axes[f"{name}.conv2.conv.weight"] = (outputs, f"{name}.conv1")
        axes[f"{name}.shortcut.weight"] = (outputs, inputs)
        axes[f"{name}.shortcut.bias"] = (outputs,)

    for i in range(len(config.widths)):
        block(f"down.{i}", f"down.{max(0, i - 1)}", f"down.{i}")
    site("past.site", deepest)
    axes |= {"past.enter.weight": (_ENTERED, deepest), "past.enter.bias": (_ENTERED,)}
    axes |= {"past.leave.weight": (deepest, _KEPT), "past.leave.bias": (deepest,)}
    axes["past.cell.weight_ih_l0"] = ("past.gates", "past.inputs")
    axes["past.cell.weight_hh_l0"] = ("past.gates", "past.state")
    axes |= {f"past.cell.bias_{kind}_l0": ("past.gates",) for kind in ("ih", "hh")}
    below = deepest
    for i, _ in _levels(config):
        site(f"up.{i}.site", below)
        axes[f"up.{i}.up.weight"] = (below, f"up.{i}.up")
        block(f"up.{i}.block", f"up.{i}.joined", f"up.{i}.block")
        below = f"up.{i}.block"
    site("last", below)
    for i in range(len(config.band_groups)):
        axes[f"enter.{i}.weight"] = ("down.0",)
        axes[f"leave.{i}.weight"] = ("", below)
    axes |= {"condition.film.weight": ("film",), "condition.film.bias": ("film",)}
    return axes


def _joined(wide: StreamingNetwork, kept: _Sets, axes: dict[str, tuple[str, ...]]) -> _Sets:
    """What is made of several sets, or of every channel several times."""
    config = wide.config
    place = torch.arange(_positions(config))
    state, inputs = (
        (kept[name][:, None] * len(place) + place).flatten() for name in (_KEPT, _ENTERED)
    )
    gates = torch.cat([state + i * config.recurrent for i in range(3)])
    found = {"past.state": state, "past.inputs": inputs, "past.gates": gates}
    for i, level in _levels(config):
        skipped = kept[f"down.{level}"] + config.widths[level]
        found[f"up.{i}.joined"] = torch.cat([kept[f"up.{i}.up"], skipped])
    sites = [(part.number, name) for name, part in wide.named_modules() if isinstance(part, Site)]
    rows, first = [], 0
    for number, name in sorted(sites):
        channels = axes[f"{name}.norm.weight"][0]
        taken = (kept | found)[channels]
        # A scale, then a shift, for every channel of the site.
        for _ in range(2):
            rows.append(taken + first)
            first += wide.condition.sizes[number]
    return found | {"film": torch.cat(rows)}


def _gating(gate: Tensor) -> Callable[..., Tensor]:
    return lambda module, inputs, output: output * gate


def _gating_input(gate: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda module, inputs: (inputs[0] * gate, *inputs[1:])
