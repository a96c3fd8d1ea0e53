"""Loads weights into a network: released checkpoints and trainings made here."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiosep_core.errors import AudioSepError
from audiosep_core.model.config import NetworkConfig, SeparatorConfig, get_config, network_config
from audiosep_core.model.network import SeparatorNetwork, build_network
from audiosep_core.model.streaming_network import StreamingNetwork

#: The separation network's prefix in a Lightning checkpoint of the released code.
LIGHTNING_PREFIX = "ss_model."
_IGNORED_PREFIXES = ("query_encoder.",)
#: CLAP's text branch inside a Lightning checkpoint of the released code, in laion-clap's own
#: checkpoints (``module.``) and in a bare state dict.
_TEXT_BRANCH = re.compile(
    r"(?:query_encoder\.model\.|module\.|model\.)?((?:text_branch|text_projection)\..+)"
)
_FILM = re.compile(r"film\..*\.weight")
#: Computed, not learned; our own trainings leave them out, and averages of weights the counts.
_NOT_LEARNED = (".stft.", ".istft.", ".num_batches_tracked")


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
            without the ``ss_model.`` prefix; or ``{"ema": ...}``, a running average of weights.
    """
    state = content.get("ema", content.get("state_dict", content))
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


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights by name.

    Args:
        net: The network.
        weights: As they are named in its state dict; fixed Fourier kernels may be missing.

    Raises:
        CheckpointError: A weight is missing, unknown, of another shape, or not finite; the
            message names it.
    """
    expected = net.state_dict()
    learned = {name for name in expected if not any(part in f".{name}" for part in _NOT_LEARNED)}
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
        name = type(net).__name__
        if isinstance(net, SeparatorNetwork | StreamingNetwork):
            name = net.config.name
        raise CheckpointError(
            f"the weights do not fit the network {name!r}: {'; '.join(problems[:3])}{more}"
        )
    net.load_state_dict(dict(weights), strict=False)


def load_network(
    path: Path, config: NetworkConfig | str | None = None
) -> SeparatorNetwork | StreamingNetwork:
    """A network of either form with a checkpoint's weights, in evaluation mode.

    What all trainings here write is one format: ``config``, the network's configuration as plain
    types, and ``state_dict``, its weights behind ``ss_model.``; of a training that averages
    weights they are the average. :func:`network_weights` says what else is read.

    Args:
        path: The checkpoint.
        config: The network's configuration or its name; None takes the one stored in the
            checkpoint, or the released model's.

    Raises:
        CheckpointError: The checkpoint cannot be read, is another system's, or does not fit.
        ValueError: No configuration has that name.
    """
    content = read_checkpoint(path)
    weights = network_weights(content)
    if config is None:
        config = _stored_config(path, content, weights)
    net = build_network(config)
    load_weights(net, weights)
    return net.eval()


def _stored_config(
    path: Path, content: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> NetworkConfig:
    stored, system = content.get("config"), content.get("system")
    if isinstance(stored, dict):
        try:
            return network_config(stored)
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path} describes a network that cannot be built ({error}); name its shape with "
                "--config"
            ) from None
    if isinstance(system, dict):
        raise CheckpointError(
            f"{path} holds {system.get('name')!r}, and a bundle holds AudioSep's kind of network "
            f"alone; compare it with others: audiosep evaluate ... --compare NAME={path}"
        )
    # USS' separator is the released network, asked by something else.
    sizes = {value.shape[1] for name, value in weights.items() if _FILM.fullmatch(name)}
    config = get_config("audiosep-base")
    if isinstance(config, SeparatorConfig) and len(sizes) == 1:
        return dataclasses.replace(config, condition_size=sizes.pop())
    return config
