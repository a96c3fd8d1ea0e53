"""Loads weights into a network: released checkpoints and trainings made here."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiosep_core.config import SeparatorConfig, get_config
from audiosep_core.errors import AudioSepError
from audiosep_core.network import SeparatorNetwork, build_network

#: The separation network's prefix in a Lightning checkpoint of the released code.
LIGHTNING_PREFIX = "ss_model."
_IGNORED_PREFIXES = ("query_encoder.",)
#: CLAP's text branch inside a Lightning checkpoint of the released code, in laion-clap's own
#: checkpoints (``module.``) and in a bare state dict.
_TEXT_BRANCH = re.compile(
    r"(?:query_encoder\.model\.|module\.|model\.)?((?:text_branch|text_projection)\..+)"
)
#: Computed, not learned; our own trainings leave them out.
_FOURIER = (".stft.", ".istft.")


class CheckpointError(AudioSepError):
    """A checkpoint cannot be read, or does not fit the network."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of tensors without running anything that is pickled in it.

    Args:
        path: ``.safetensors``, or anything ``torch.load(weights_only=True)`` reads.

    Returns:
        What the file holds; for safetensors its tensors under "state_dict".

    Raises:
        CheckpointError: The file is missing, damaged, or holds other things than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the checkpoint's path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {"state_dict": load_file(path)}
        with torch.serialization.safe_globals(_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # PyTorch's own text advises to load such a file unsafely.
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: it is damaged, or holds more than tensors and "
            "numbers, which could run code; download it again, or write its state dict as "
            "safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({reason}); download or write it again"
        ) from None
    except Exception as error:  # safetensors raises its own type, which has no public base
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({error})") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds {type(content).__name__}, not a state dict")
    return dict(content)


def _numbers() -> list[Any]:
    """What plain NumPy numbers are pickled with: laion-clap keeps its losses as such.

    Naming them lets such a file load without trusting anything in it: they hold a number, and
    nothing else can be made with them.
    """
    scalar = np.float64(0).__reduce__()[0]
    old_path = "numpy.core.multiarray.scalar"
    types = {type(np.dtype(name)) for name in ("f2", "f4", "f8", "i4", "i8", "?")}
    return [scalar, (scalar, old_path), np.dtype, *types]


def text_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """CLAP's text branch and its projection, named as in laion-clap; empty if there is none.

    Args:
        content: A Lightning checkpoint that holds its query encoder, laion-clap's own
            checkpoint, or a plain state dict.

    Returns:
        Tensors named ``text_branch.*`` and ``text_projection.*``.
    """
    state = content.get("state_dict", content)
    found = {_TEXT_BRANCH.fullmatch(name): value for name, value in state.items()}
    return {
        match[1]: value
        for match, value in found.items()
        if match is not None and isinstance(value, Tensor)
    }


def network_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The separation network's tensors, named as in :func:`build_network`.

    Args:
        content: A Lightning checkpoint, ``{"state_dict": ...}``, or a plain state dict, with or
            without the ``ss_model.`` prefix.
    """
    state = content.get("state_dict", content)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if any(name.startswith(LIGHTNING_PREFIX) for name in tensors):
        return {
            name.removeprefix(LIGHTNING_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(LIGHTNING_PREFIX)
        }
    return {
        name: value for name, value in tensors.items() if not name.startswith(_IGNORED_PREFIXES)
    }


def load_weights(net: SeparatorNetwork, weights: Mapping[str, Tensor]) -> None:
    """Load weights by name.

    Raises:
        CheckpointError: A weight is missing, unknown, of another shape, or not finite; the
            message names it.
    """
    expected = net.state_dict()
    learned = {name for name in expected if not any(part in f".{name}" for part in _FOURIER)}
    problems = [f"{name} is missing" for name in sorted(learned - set(weights))]
    problems += [
        f"{name} is not part of the network" for name in sorted(set(weights) - set(expected))
    ]
    for name in sorted(set(weights) & set(expected)):
        found, wanted = tuple(weights[name].shape), tuple(expected[name].shape)
        if found != wanted:
            problems.append(f"{name} has shape {found}, the network needs {wanted}")
        elif not torch.isfinite(weights[name]).all():
            problems.append(f"{name} holds NaN or infinity")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CheckpointError(
            f"the weights do not fit the network {net.config.name!r}: "
            f"{'; '.join(problems[:3])}{more}"
        )
    net.load_state_dict(dict(weights), strict=False)


def load_network(path: Path, config: SeparatorConfig | str | None = None) -> SeparatorNetwork:
    """A network with a checkpoint's weights, in evaluation mode.

    Args:
        path: The checkpoint.
        config: The network's configuration or its name; None takes the one stored in the
            checkpoint, or the released model's.

    Raises:
        CheckpointError: The checkpoint cannot be read, or does not fit.
        ValueError: No configuration has that name.
    """
    content = read_checkpoint(path)
    if config is None:
        stored = content.get("config")
        config = SeparatorConfig.from_dict(stored) if isinstance(stored, dict) else "audiosep-base"
    net = build_network(get_config(config) if isinstance(config, str) else config)
    load_weights(net, network_weights(content))
    return net.eval()
