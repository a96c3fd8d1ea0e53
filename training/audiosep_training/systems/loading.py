"""Systems by name, with the weights of a checkpoint: the released code's, or of a training here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiosep_core.errors import UsageError
from audiosep_core.model.checkpoint import CheckpointError, load_weights, read_checkpoint
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.systems import SYSTEMS, build_system, folder_of
from audiosep_training.systems.base import System
from audiosep_training.systems.recipe import Ask, Recipe

_PREFIXES = ("ss_model.", "module.")
_CONVOLUTION = re.compile(r"separator/conv1d(?:_\d+)?/kernel(?::0)?")
_FILM = re.compile(r"film\..*\.weight")


def open_recipe(config: TrainingConfig) -> Recipe[Any]:
    """The recipe of the system that a training names, with fresh weights.

    Raises:
        ConfigError: There is no such system, it takes no such option, or the training's fields
            do not fit it.
        UsageError, CheckpointError: What it is asked by is not given, or something else.
    """
    name = config.system.name
    if name not in SYSTEMS:
        raise ConfigError(f"system.name must be one of {', '.join(SYSTEMS)}, not {name!r}")
    module = importlib.import_module(f"{folder_of(name)}.recipe")
    try:
        recipe: Recipe[Any] = module.open_recipe(config)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise ConfigError(f"{name} cannot be built from this training: {error}") from None
    if config.sample_rate != recipe.network.sample_rate:
        raise ConfigError(
            f"{name} works at {recipe.network.sample_rate} Hz; set data.sample_rate = "
            f"{recipe.network.sample_rate}"
        )
    return recipe


def open_system(
    name: str, path: Path, options: Mapping[str, str] | None = None
) -> tuple[System, Ask]:
    """A system with a checkpoint's weights in evaluation mode, and how it is asked.

    Args:
        name: What the system is called, where the checkpoint does not tell.
        path: The checkpoint: of ``audiosep train``, or as the released code wrote it; of
            TensorFlow's Wave-U-Net an ``.npz`` of its variables.
        options: What it is asked with; see ``open_ask`` of the system's recipe.

    Raises:
        CheckpointError: It cannot be read, or does not fit; or what it is asked with is missing.
        UsageError: There is no such system.
    """
    content = _read(path)
    stored = content.get("system", {})
    name = stored.get("name", name)
    if name not in SYSTEMS:
        raise UsageError(
            f"{path} does not tell which system it holds, and none is called {name!r}; name it as "
            f"one of {', '.join(SYSTEMS)}, as in --compare segan={path.name}"
        )
    weights = system_weights(content)
    try:
        system = build_system(name, **(stored.get("options") or _told_by(name, weights)))
        if any(map(_CONVOLUTION.fullmatch, weights)):
            system.load_tensorflow({key: np.asarray(value) for key, value in weights.items()})  # type: ignore[operator]
        else:
            load_weights(system, weights)
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} does not fit {name}: {error}") from None
    system.eval()
    options = options or {}
    if not system.condition_size:
        _check_options(name, options, ())
        return system, lambda text: None
    module = importlib.import_module(f"{folder_of(name)}.recipe")
    _check_options(name, options, module.OPTIONS)
    return system, module.open_ask(system, stored, options)


def system_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """A system's tensors by the names in its state dict.

    Args:
        content: A checkpoint of ``audiosep train`` or of USS ("state_dict", with ``ss_model.``),
            of LASS-Net ("model", with ``module.``), of CLIPSep (``module.``), or a plain state
            dict.
    """
    state = content.get("state_dict", content.get("model", content))
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            return {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
    return tensors


def _check_options(name: str, options: Mapping[str, str], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            told = f"it knows {', '.join(known)}" if known else "it is asked nothing"
            raise UsageError(f"{name} is not asked with {option!r}; {told}")


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".npz":
        return read_checkpoint(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as arrays ({error})") from None


def _told_by(name: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of a system that a released checkpoint shows by its shapes."""
    if name == "wave-u-net":
        # Down, bottleneck and up, and one for each of two sources.
        convolutions = sum(map(bool, map(_CONVOLUTION.fullmatch, weights)))
        return {"layers": (convolutions - 3) // 2} if convolutions else {}
    if name.startswith("uss-"):
        sizes = {value.shape[1] for key, value in weights.items() if _FILM.fullmatch(key)}
        return {"condition": "probabilities"} if sizes == {527} else {}
    return {}
