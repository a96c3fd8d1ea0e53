"""Reads the description of a training from TOML, and says what is wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from audiosep_core.config import CONFIGS, SeparatorConfig
from training import toml
from training.config import ConfigError, TrainingConfig

FOLDER = Path(__file__).with_name("configs")
_LOSSES = ("l1", "log", "magnitude")
_ENCODERS = ("clap", "clip", "sentence", "bert")
_SCHEDULES = ("stairs", "linear")
_MASKS = ("complex", "magnitude")


def config_names() -> list[str]:
    """The configurations that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainingConfig:
    """A configuration by its name or from a TOML file.

    ``[network]`` takes the fields of :class:`audiosep_core.config.SeparatorConfig`;
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
    place = values
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"--set {override}: {section!r} is no section")
    place[leaf] = value


def _build(values: dict[str, Any], file: str) -> TrainingConfig:
    values = dict(values)
    network = values.pop("network", {})
    _require(isinstance(network, dict), file, "network", "must be a section")
    built = _fill(TrainingConfig, values, file, "")
    config = dataclasses.replace(built, network=_network(network, file, built.name))
    _check(config, file)
    return config


def _network(values: dict[str, Any], file: str, name: str) -> SeparatorConfig:
    values = dict(values)
    preset = values.pop("preset", "audiosep-base")
    _known(preset, tuple(CONFIGS), file, "network.preset")
    known = [field.name for field in dataclasses.fields(SeparatorConfig)]
    for field in values:
        _known_field(field, known, file, "network.")
    try:
        return SeparatorConfig.from_dict({**CONFIGS[preset].to_dict(), "name": name, **values})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file}: [network]: {error}") from None


def _fill(kind: type, values: Mapping[str, Any], file: str, prefix: str) -> Any:
    hints = get_type_hints(kind)
    found = {}
    for field, value in values.items():
        _known_field(field, list(hints), file, prefix)
        hint = hints[field]
        if dataclasses.is_dataclass(hint):
            _require(isinstance(value, dict), file, prefix + field, "must be a section")
            found[field] = _fill(hint, value, file, f"{prefix}{field}.")  # type: ignore[arg-type]
        else:
            found[field] = _typed(hint, value, file, prefix + field)
    return kind(**found)


def _typed(hint: Any, value: Any, file: str, field: str) -> Any:
    if get_origin(hint) is tuple:
        _require(isinstance(value, list), file, field, f"must be a list, not {value!r}")
        item = get_args(hint)[0]
        return tuple(_typed(item, part, file, field) for part in value)
    if hint is float and type(value) is int:
        value = float(value)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    _require(type(value) is hint, file, field, f"must be {names[hint]}, not {value!r}")
    return value


def _check(config: TrainingConfig, file: str) -> None:
    _known(config.mask, _MASKS, file, "mask")
    _known(config.query.encoder, _ENCODERS, file, "query.encoder")
    _known(config.optimiser.loss, _LOSSES, file, "optimiser.loss")
    _known(config.optimiser.schedule, _SCHEDULES, file, "optimiser.schedule")
    _known(config.run.strategy, ("auto", "ddp", "fsdp"), file, "run.strategy")
    _known(config.run.accelerator, ("auto", "cpu", "gpu"), file, "run.accelerator")
    positive = {
        "data.segment_samples": config.data.segment_samples,
        "data.batch": config.data.batch,
        "data.shuffle": config.data.shuffle,
        "run.steps": config.run.steps,
        "run.checkpoint_every": config.run.checkpoint_every,
        "run.log_every": config.run.log_every,
        "run.nodes": config.run.nodes,
    }
    for field, value in positive.items():
        _require(value > 0, file, field, f"must be above 0, not {value}")
    for field, share in (
        ("query.text_ratio", config.query.text_ratio),
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
        not (config.run.strategy == "fsdp" and config.mask == "magnitude"),
        file,
        "mask",
        "must be 'complex' with run.strategy 'fsdp'",
    )
    _require(
        config.query.text_ratio == 1 or config.query.encoder == "clap",
        file,
        "query.text_ratio",
        f"must be 1 with the encoder {config.query.encoder!r}, which knows no sounds",
    )
    _require(
        not config.query.video or config.query.encoder == "clip",
        file,
        "query.video",
        f"must be false with the encoder {config.query.encoder!r}, which knows no videos",
    )
    _require(
        not config.query.tune or config.query.encoder == "bert",
        file,
        "query.tune",
        "is for the encoder 'bert' alone; set it to false",
    )


def _known_field(field: str, known: Sequence[str], file: str, prefix: str) -> None:
    if field not in known:
        near = difflib.get_close_matches(field, known, 1)
        remedy = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{file}: {prefix}{field} is no field of a training; {remedy}")


def _known(value: str, known: Sequence[str], file: str, field: str) -> None:
    _require(value in known, file, field, f"must be one of {', '.join(known)}, not {value!r}")


def _require(holds: bool, file: str, field: str, problem: str) -> None:
    if not holds:
        raise ConfigError(f"{file}: {field} {problem}")
