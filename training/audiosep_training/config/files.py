"""Reads the description of a training from TOML, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiosep_core.model.config import CONFIGS, NetworkConfig, network_config
from audiosep_core.plain import FieldError, from_plain
from audiosep_training import toml
from audiosep_training.config.schema import ConfigError, TrainingConfig

FOLDER = Path(__file__).with_name("shipped")
_LOSSES = ("l1", "log")
_STREAMING_LOSSES = ("log-spectral",)
_ENCODERS = ("clap", "clip", "sentence", "own")
_SCHEDULES = ("stairs", "linear", "cosine")
_RULES = ("energy", "peak", "factors")
_OPTIMISERS = ("adamw", "rmsprop")


def config_names() -> list[str]:
    """The configurations that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainingConfig:
    """A configuration by its name or from a TOML file.

    ``[network]`` takes the fields of :class:`audiosep_core.model.config.SeparatorConfig`, or, of a
    streaming network, of :class:`audiosep_core.model.streaming_config.StreamingConfig`;
    ``preset = "mini"`` starts from a network known by name.

    Args:
        name_or_path: One of :func:`config_names`, or a path that ends in ``.toml``.
        overrides: ``section.field=value`` each, the value in TOML; text may go without quotes.

    Raises:
        ConfigError: There is no such configuration, a field is unknown, or a value impossible;
            the message names file, field and remedy.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if name_or_path not in config_names():
            raise ConfigError(
                f"no training is called {name_or_path!r}; known: {', '.join(config_names())}; or "
                "give the path of a .toml file"
            )
        path = FOLDER / f"{name_or_path}.toml"
    try:
        values = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    values.setdefault("name", path.stem)
    for override in overrides:
        _override(values, override)
    return _build(values, path.name)


def _override(values: dict[str, Any], override: str) -> None:
    field, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write section.field=value, such as run.steps=1000")
    try:
        value = toml.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    *sections, leaf = field.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {section!r} is no section")
    table[leaf] = value


def _build(values: dict[str, Any], file: str) -> TrainingConfig:
    values = dict(values)
    network = values.pop("network", {})
    _require(isinstance(network, dict), file, "network", "must be a section")
    try:
        built = from_plain(TrainingConfig, values)
    except FieldError as error:
        raise ConfigError(f"{file}: {error}") from None
    config = dataclasses.replace(built, network=_network(network, file, built.name))
    _check(config, file)
    return config


def _network(values: dict[str, Any], file: str, name: str) -> NetworkConfig:
    values = dict(values)
    preset = values.pop("preset", "audiosep-base")
    _known(preset, tuple(CONFIGS), file, "network.preset")
    start = CONFIGS[preset]
    try:
        return network_config({**start.to_dict(), "name": name, **values})
    except ValueError as error:
        raise ConfigError(f"{file}: [network]: {error}") from None


def _check(config: TrainingConfig, file: str) -> None:
    _known(config.mixing.rule, _RULES, file, "mixing.rule")
    _known(config.optimiser.kind, _OPTIMISERS, file, "optimiser.kind")
    _known(config.query.encoder, _ENCODERS, file, "query.encoder")
    losses = _STREAMING_LOSSES if config.streaming else _LOSSES
    _known(config.optimiser.loss, losses, file, "optimiser.loss")
    _known(config.optimiser.schedule, _SCHEDULES, file, "optimiser.schedule")
    _known(config.run.strategy, ("auto", "ddp", "fsdp"), file, "run.strategy")
    _known(config.run.accelerator, ("auto", "cpu", "gpu"), file, "run.accelerator")
    positive = {
        "data.segment_samples": config.data.segment_samples,
        "data.batch": config.data.batch,
        "data.shuffle": config.data.shuffle,
        "data.shuffle_megabytes": config.data.shuffle_megabytes,
        "run.steps": config.run.steps,
        "run.checkpoint_every": config.run.checkpoint_every,
        "run.log_every": config.run.log_every,
        "run.nodes": config.run.nodes,
    }
    for field, value in positive.items():
        _require(value > 0, file, field, f"must be above 0, not {value}")
    for field, share in (
        ("query.text_ratio", config.query.text_ratio),
        ("query.video_ratio", config.query.video_ratio),
        ("data.max_bad_share", config.data.max_bad_share),
        ("optimiser.ema", config.optimiser.ema),
    ):
        _require(0 <= share <= 1, file, field, f"must lie in 0…1, not {share}")
    most = config.mixing.max_mix_num
    _require(most >= 2, file, "mixing.max_mix_num", f"must be at least 2, not {most}")
    _require(
        config.mixing.lower_db <= config.mixing.higher_db,
        file,
        "mixing.lower_db",
        "must not be above mixing.higher_db",
    )
    _require(len(config.optimiser.betas) == 2, file, "optimiser.betas", "must be two numbers")
    _require(
        not (config.run.strategy == "fsdp" and config.optimiser.ema),
        file,
        "optimiser.ema",
        "must be 0 with run.strategy 'fsdp': the average of sharded weights is not kept",
    )
    _require(
        not (config.run.strategy == "fsdp" and config.system.name),
        file,
        "run.strategy",
        "must be 'auto' or 'ddp' for a comparison system",
    )
    _require(
        not (config.streaming and config.run.strategy == "fsdp"),
        file,
        "run.strategy",
        "must be 'auto' or 'ddp' for a streaming network",
    )
    _require(
        config.query.text_ratio == 1 or config.query.encoder == "clap",
        file,
        "query.text_ratio",
        f"must be 1 with the encoder {config.query.encoder!r}, which knows no sounds",
    )
    _require(
        not config.query.video_ratio or config.query.encoder == "clip",
        file,
        "query.video_ratio",
        f"must be 0 with the encoder {config.query.encoder!r}, which knows no videos",
    )
    factors = config.mixing.factors
    _require(
        len(factors) == 2 and 0 <= factors[0] <= factors[1],
        file,
        "mixing.factors",
        "must be two numbers, the least first",
    )


def _known(value: str, known: Sequence[str], file: str, field: str) -> None:
    _require(value in known, file, field, f"must be one of {', '.join(known)}, not {value!r}")


def _require(holds: bool, file: str, field: str, problem: str) -> None:
    if not holds:
        raise ConfigError(f"{file}: {field} {problem}")
