"""One description of a training: what is trained on what, and how.

The defaults are the released code's (``config/audiosep_base.yaml``). Fields of ``[run]`` and
places of data may differ when a run is resumed; all others make it another training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from audiosep_core.errors import UsageError
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.streaming_config import StreamingConfig


class ConfigError(UsageError, ValueError):
    """A training configuration has an unknown field or an impossible value."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the sounds come from, and how they are cut: ``[data]``.

    Attributes:
        corpus: Folder of a stored corpus (:mod:`audiosep_training.corpus`); else lists or shards.
        lists: JSON lists.
        shards: Folders with shards, or addresses of shards with braces.
        validation: JSON lists of clips for validation; a corpus brings its own.
        sample_rate: In Hz, of a comparison system; 0 for that of ``[network]``.
        segment_samples: Length of an example at the model's rate; streaming networks, which have
            none, are trained at :data:`audiosep_training.mixer.sounds.SAMPLE_RATE`.
        shortest_samples: Clips under this length are dropped.
        batch: Examples on each device and step.
        workers: Processes that read and mix.
        shuffle: Clips that are shuffled at a time within a shard, ...
        shuffle_megabytes: ... or fewer, where they are as large as this together: what a reader
            holds at most, beside one clip.
        balance: Draw AudioSet's classes equally often (captions of the lists are their names).
        check: Whether the headers of all listed files are read before training starts.
        max_bad_share: Largest share of unreadable clips that training goes on with.
        validation_count: Mixtures to validate on.
        validation_samples: Their length.
    """

    corpus: str = ""
    lists: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    sample_rate: int = 0
    segment_samples: int = 160_000
    shortest_samples: int = 32_000
    batch: int = 12
    workers: int = 6
    shuffle: int = 1000
    shuffle_megabytes: int = 256
    balance: bool = False
    check: bool = True
    max_bad_share: float = 0.02
    validation_count: int = 160
    validation_samples: int = 160_000


@dataclasses.dataclass(frozen=True)
class MixingConfig:
    """How clips become mixtures: ``[mixing]``.

    Attributes:
        rule: "energy" (AudioSep: every source at the target's energy, then amplified), "peak"
            (LASS-Net: at the target's peak) or "factors" (every source as it is, times a factor).
        max_mix_num: Most sources of a mixture.
        lower_db: Least gain of the background, in whole decibels; not of "factors".
        higher_db: Its largest, included.
        factors: The least and the largest factor of "factors".
    """

    rule: str = "energy"
    max_mix_num: int = 2
    lower_db: int = -10
    higher_db: int = 10
    factors: tuple[float, ...] = (1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class QueryConfig:
    """What turns a caption or a sound into the condition: ``[query]``.

    Attributes:
        encoder: "clap", "clip" or "sentence" (what ships with mini); a comparison system that is
            asked by something else has "own".
        checkpoint: The encoder's weights: a file for CLAP and PANNs' Cnn14 (USS, AudioSet-UNet),
            a folder for CLIP (CLIPSep) and BERT (LASS-Net).
        vocabulary: Folder with ``vocab.json`` and ``merges.txt``, for CLAP.
        detector: PANNs' Cnn14_DecisionLevelMax, which finds what USS is trained on: a file.
        text_ratio: How often a batch is asked for by text; else by the target's own sound.
        video_ratio: How often a clip that has a video is asked for by it, instead of by its
            caption.
    """

    encoder: str = "clap"
    checkpoint: str = ""
    vocabulary: str = ""
    detector: str = ""
    text_ratio: float = 1.0
    video_ratio: float = 0.0


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """What is minimised, and how: ``[optimiser]``.

    Attributes:
        loss: "l1" (waveform) or "log" (of L1 and RMS error over the target's); of a streaming
            network "log-spectral" ("log", and the log of compressed magnitudes' error). A
            comparison system has a loss of its own.
        kind: "adamw" or "rmsprop".
        rate: Learning rate.
        betas: Of AdamW.
        weight_decay: Of AdamW.
        amsgrad: Of AdamW.
        schedule: "stairs" (0.001, 0.01, 0.1 and 1 times the rate) or "linear" warm-up, which
            "cosine" has, too.
        warmup_steps: Length of each stair, or of the linear rise.
        decay_steps: Over the last this many steps the rate falls to zero: linearly, or as half a
            cosine.
        lowest: Share of the rate that it falls to linearly after the warm-up, ...
        lowest_at: ... at this step, and stays at; 0 for no such fall.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        ema: Decay of the running average of the weights that is kept to ship; 0 keeps none. It
            is lower at first, so that the first weights are soon forgotten.
    """

    loss: str = "l1"
    kind: str = "adamw"
    rate: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.0
    amsgrad: bool = True
    schedule: str = "stairs"
    warmup_steps: int = 10_000
    decay_steps: int = 0
    lowest: float = 1.0
    lowest_at: int = 0
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
class SystemConfig:
    """A comparison system: ``[system]``.

    Attributes:
        name: As :func:`audiosep_training.systems.build_system` takes it; empty for AudioSep.
        options: What else that takes: ``options = { layers = 12 }``.
    """

    name: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A whole training.

    Attributes:
        name: What it is called after ``audiosep train``.
        about: One sentence on what it reproduces.
        done: Whether it exists here; the comparison systems that do not are kept as plans.
        untrained: Why it is not trained here; empty if it is.
        seed: Of the weights and of every draw.
        system: The comparison system that is trained instead of ``network``, if it is named.
        network: The network's shape, of the windowed or of the streaming form.
    """

    name: str
    about: str = ""
    done: bool = True
    untrained: str = ""
    seed: int = 1234
    system: SystemConfig = dataclasses.field(default_factory=SystemConfig)
    network: SeparatorConfig | StreamingConfig = dataclasses.field(default_factory=SeparatorConfig)
    data: DataConfig = DataConfig()
    mixing: MixingConfig = MixingConfig()
    query: QueryConfig = QueryConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    run: RunConfig = RunConfig()

    @property
    def streaming(self) -> bool:
        """Whether the network is of the streaming form."""
        return isinstance(self.network, StreamingConfig)

    @property
    def sample_rate(self) -> int:
        """Rate in Hz that a comparison system or a windowed network is trained at."""
        if self.data.sample_rate:
            return self.data.sample_rate
        assert isinstance(self.network, SeparatorConfig)
        return self.network.sample_rate

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**_plain(dataclasses.asdict(self)), "network": self.network.to_dict()}


def differing_field(
    stored: Mapping[str, Any], wanted: TrainingConfig
) -> tuple[str, Any, Any] | None:
    """The first field that makes two trainings different ones: (field, stored, wanted).

    ``[run]``, the text about it and the places of data do not count; the number of workers does
    where they share out shards. A field that the stored training did not know yet had its default,
    and one that there is no more does not count.
    """
    now = _flat(wanted.to_dict())
    defaults = _flat({**TrainingConfig(wanted.name).to_dict(), "network": {}})
    before = defaults | _flat(stored)
    free = {"about", "done", "untrained", "data.check", "data.max_bad_share"}
    if not wanted.data.shards:
        free.add("data.workers")
    free |= {f"data.{field}" for field in ("corpus", "lists", "shards", "validation")}
    free |= {"query.checkpoint", "query.vocabulary", "query.detector", "data.validation_count"}
    free |= {"data.validation_samples"}
    shapes = {field for field in before if field.startswith(("network.", "system."))}
    for field in sorted(now.keys() | shapes):
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
