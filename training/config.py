"""One description of a training: what is trained on what, and how.

The defaults are the released code's (``config/audiosep_base.yaml``). Fields of ``[run]`` and
places of data may differ when a run is resumed; all others make it another training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from audiosep_core.config import SeparatorConfig
from audiosep_core.errors import UsageError


class ConfigError(UsageError, ValueError):
    """A training configuration has an unknown field or an impossible value."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the sounds come from, and how they are cut: ``[data]``.

    Attributes:
        corpus: Folder of a stored corpus (:mod:`training.corpus`); else lists or shards.
        lists: JSON lists.
        shards: Folders with shards, or addresses of shards with braces.
        validation: JSON lists of clips for validation; a corpus brings its own.
        segment_samples: Length of an example at the model's rate.
        shortest_samples: Clips under this length are dropped.
        batch: Examples on each device and step.
        workers: Processes that read and mix.
        shuffle: Clips that are shuffled at a time within a shard.
        check: Whether the headers of all listed files are read before training starts.
        max_bad_share: Largest share of unreadable clips that training goes on with.
        validation_count: Mixtures to validate on.
        validation_samples: Their length.
    """

    corpus: str = ""
    lists: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    segment_samples: int = 160_000
    shortest_samples: int = 32_000
    batch: int = 12
    workers: int = 6
    shuffle: int = 1000
    check: bool = True
    max_bad_share: float = 0.02
    validation_count: int = 160
    validation_samples: int = 160_000


@dataclasses.dataclass(frozen=True)
class MixingConfig:
    """How clips become mixtures: ``[mixing]``; gains are whole decibels, both ends included."""

    max_mix_num: int = 2
    lower_db: int = -10
    higher_db: int = 10


@dataclasses.dataclass(frozen=True)
class QueryConfig:
    """What turns a caption or a sound into the condition: ``[query]``.

    Attributes:
        encoder: "clap", "clip", "sentence" (what ships with mini) or "bert" (LASS-Net).
        checkpoint: The encoder's weights: a file for CLAP, a folder for CLIP and BERT.
        vocabulary: Folder with ``vocab.json`` and ``merges.txt``, for CLAP.
        text_ratio: How often a batch is asked for by text; else by the target's own sound.
        video: Ask by the video of an item, where it has one, instead of by its caption.
        tune: Train the encoder too (BERT alone).
    """

    encoder: str = "clap"
    checkpoint: str = ""
    vocabulary: str = ""
    text_ratio: float = 1.0
    video: bool = False
    tune: bool = False


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """What is minimised, and how: ``[optimiser]``.

    Attributes:
        loss: "l1" (waveform), "log" (of L1 and RMS error over the target's) or "magnitude".
        rate: Learning rate.
        betas: Of AdamW.
        weight_decay: Of AdamW.
        amsgrad: Of AdamW.
        schedule: "stairs" (0.001, 0.01, 0.1 and 1 times the rate) or "linear" warm-up.
        warmup_steps: Length of each stair, or of the linear rise.
        decay_steps: Over the last this many steps the rate falls to zero linearly.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        ema: Decay of the running average of the weights that is kept to ship; 0 keeps none.
    """

    loss: str = "l1"
    rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.0
    amsgrad: bool = True
    schedule: str = "stairs"
    warmup_steps: int = 10_000
    decay_steps: int = 0
    clip_norm: float = 0.0
    ema: float = 0.0


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How long, how often, on what: ``[run]``.

    Attributes:
        steps: Optimiser steps in all.
        checkpoint_every: Steps between checkpoints.
        validate_every: Steps between validations; 0 never validates.
        log_every: Steps between entries of the log.
        keep_every: Steps between checkpoints that are kept beside the last one; 0 keeps none.
        precision: As Lightning names it: "32-true", "16-mixed", "bf16-mixed".
        accelerator: "auto", "cpu" or "gpu".
        devices: Devices on each node; 0 takes all there are.
        nodes: Number of machines.
        strategy: "auto", "ddp" or "fsdp".
        threads: Threads of each process on the CPU; 0 leaves the choice to PyTorch.
        sync_batchnorm: Whether batch norms share their statistics between GPUs.
    """

    steps: int = 1_000_000
    checkpoint_every: int = 20_000
    validate_every: int = 10_000
    log_every: int = 50
    keep_every: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 0
    nodes: int = 1
    strategy: str = "auto"
    threads: int = 0
    sync_batchnorm: bool = True


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A whole training.

    Attributes:
        name: What it is called after ``audiosep train``.
        about: One sentence on what it reproduces.
        done: Whether it exists here; the comparison systems that do not are kept as plans.
        untrained: Why it is not trained here; empty if it is.
        seed: Of the weights and of every draw.
        mask: "complex" (magnitude and phase, the paper's) or "magnitude" (LASS-Net's).
        network: The network's shape.
    """

    name: str
    about: str = ""
    done: bool = True
    untrained: str = ""
    seed: int = 1234
    mask: str = "complex"
    network: SeparatorConfig = dataclasses.field(default_factory=SeparatorConfig)
    data: DataConfig = DataConfig()
    mixing: MixingConfig = MixingConfig()
    query: QueryConfig = QueryConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    run: RunConfig = RunConfig()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**_plain(dataclasses.asdict(self)), "network": self.network.to_dict()}


def differing_field(
    stored: Mapping[str, Any], wanted: TrainingConfig
) -> tuple[str, Any, Any] | None:
    """The first field that makes two trainings different ones: (field, stored, wanted).

    ``[run]``, the text about it and the places of data do not count; the number of workers does
    where they share out shards.
    """
    before, now = _flat(stored), _flat(wanted.to_dict())
    free = {"about", "done", "untrained", "data.check", "data.max_bad_share"}
    if not wanted.data.shards:
        free.add("data.workers")
    free |= {f"data.{place}" for place in ("corpus", "lists", "shards", "validation")}
    free |= {"query.checkpoint", "query.vocabulary", "data.validation_count"}
    free |= {"data.validation_samples"}
    for field in sorted(before.keys() | now.keys()):
        if field in free or field.startswith("run."):
            continue
        if before.get(field) != now.get(field):
            return field, before.get(field), now.get(field)
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
