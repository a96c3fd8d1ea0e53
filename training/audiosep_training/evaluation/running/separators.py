"""What is compared: our models, command lines, Python callables, known speech enhancers."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, AudioSepError, SeparatorError, UsageError
from audiosep_core.extras import needed_for
from audiosep_core.files.items import read_sound
from audiosep_core.model.installed import open_model
from audiosep_core.runtime.device import Device
from audiosep_core.separator import Separator
from audiosep_training.evaluation.running.enhancers import ENHANCERS, enhancer
from audiosep_training.evaluation.running.ideal import IDEALS, Ideal

_CALLABLE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?:\((.*)\))?")
_CHECKPOINT = re.compile(r"(.+\.(?:ckpt|pth|pt|npz|safetensors))(?:\((.*)\))?")
_LAST_WORDS = 300

#: What ``--compare`` knows by name.
KNOWN = (*ENHANCERS, *IDEALS)
#: What every separator is: a function from a mixture to the target that a query names. It takes
#: (channels, frames) float32, the rate in Hz and the query, and returns the same shape.
Separate = Callable[[NDArray[np.float32], int, str], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class SeparatorSpec:
    """A separator by description, so that other processes can open it, too.

    Attributes:
        name: As it is named in tables.
        kind: "model", "command", "callable", "system" or "ideal".
        text: Name or path of a model, command line, ``module:function``, ``module:Class`` with
            its arguments in parentheses (an object's method ``separate`` is the function), or
            a comparison system's checkpoint with what it is asked with in parentheses.
        key: Changes when what it computes may have changed.
    """

    name: str
    kind: str
    text: str
    key: str

    def open(self, device: Device = "auto", threads: int = 0) -> Separate | Ideal:
        """Make it ready to separate.

        Raises:
            BundleError: The model is damaged.
            UsageError: The function cannot be imported, or a package is missing.
            CheckpointError: The system's checkpoint is damaged, or what it is asked with missing.
        """
        if self.kind == "ideal":
            return Ideal(IDEALS[self.text])
        if self.kind == "system":
            return _system(self.name, self.text, device)
        if self.kind == "model":
            return _model(self.text, device, threads)
        if self.kind == "command":
            return _command(self.name, self.text)
        return _guarded(self.name, _called(self.text))


def model_spec(model: str) -> SeparatorSpec:
    """A model of ours.

    Raises:
        UnknownModelError: There is none of that name, and no bundle at that path.
        BundleError: It is damaged.
    """
    bundle = open_model(model)
    return SeparatorSpec(model, "model", model, _digest(json.dumps(bundle.hashes, sort_keys=True)))


def external_spec(text: str) -> SeparatorSpec:
    """What ``--compare`` names.

    ``NAME=COMMAND``, ``NAME=module:callable``, ``NAME=CHECKPOINT`` of a comparison system, or a
    known NAME.

    Raises:
        UsageError: It is none of these, or cannot be imported.
    """
    name, equals, target = (part.strip() for part in text.partition("="))
    if not equals and name in IDEALS:
        return SeparatorSpec(name, "ideal", name, _digest(name))
    if not equals and name in ENHANCERS:
        target = enhancer(name)
    if name and "{mixture}" in target and "{output}" in target:
        try:
            shlex.split(target)
        except ValueError as error:
            raise UsageError(f"--compare {text!r} is no command line: {error}") from None
        return SeparatorSpec(name, "command", target, _digest(target))
    if name and _CALLABLE.fullmatch(target):
        _import(target)
        module = sys.modules[target.partition(":")[0]]
        source = Path(module.__file__ or "")
        code = source.read_bytes() if source.is_file() else b""
        return SeparatorSpec(
            name, "callable", target, _digest(target + hashlib.sha256(code).hexdigest())
        )
    checkpoint = _CHECKPOINT.fullmatch(target)
    if name and checkpoint is not None and Path(checkpoint[1]).is_file():
        status = Path(checkpoint[1]).stat()
        key = f"{name} {target} {status.st_size} {status.st_mtime_ns}"
        return SeparatorSpec(name, "system", target, _digest(key))
    raise UsageError(
        f"--compare {text!r} is neither NAME=COMMAND with {{mixture}}, {{query}} and {{output}}, "
        "nor NAME=module:callable, nor NAME=CHECKPOINT with a file that exists, nor one of "
        f"{', '.join(KNOWN)}"
    )


def check_stem(name: str, stem: Any, mixture: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a separator returned, as float32.

    Raises:
        SeparatorError: It is no array of the mixture's shape, or holds NaN or infinity.
    """
    try:
        array = np.asarray(stem, np.float32)
    except (TypeError, ValueError):
        raise SeparatorError(f"{name} returned {type(stem).__name__}, no array") from None
    if array.shape != mixture.shape:
        raise SeparatorError(
            f"{name} returned an array of shape {array.shape} for a mixture of {mixture.shape}"
        )
    if not np.isfinite(array).all():
        raise SeparatorError(f"{name} returned NaN or infinite samples")
    return array


def _model(model: str, device: Device, threads: int) -> Separate:
    separator = Separator(model, device, threads)

    def separate(mixture: NDArray[np.float32], sample_rate: int, query: str) -> NDArray[np.float32]:
        stems = separator.separate(mixture, sample_rate, [query])
        return stems[next(iter(stems))]

    return separate


def _system(name: str, text: str, device: Device) -> Separate:
    with needed_for(f"the comparison system {name!r}", "export,train"):
        from audiosep_training.systems.separate import SystemSeparator
    match = _CHECKPOINT.fullmatch(text)
    assert match is not None
    options = {}
    for part in filter(None, (match[2] or "").split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UsageError(f"--compare {name}={text}: write {part.strip()!r} as key=value")
        options[key] = value
    return SystemSeparator(name, Path(match[1]), options, device).separate


def _command(name: str, template: str) -> Separate:
    def separate(mixture: NDArray[np.float32], sample_rate: int, query: str) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            given, made = Path(folder) / "mixture.wav", Path(folder) / "output.wav"
            soundfile.write(given, mixture.T, sample_rate, subtype="FLOAT")
            values = {"{mixture}": str(given), "{query}": query, "{output}": str(made)}
            _run(name, [_filled(part, values) for part in shlex.split(template)])
            try:
                stem, rate = read_sound(made)
            except AudioFileError as error:
                raise SeparatorError(f"{name} wrote no stem that can be read: {error}") from None
        if rate != sample_rate:
            raise SeparatorError(f"{name} wrote a stem at {rate} Hz for a mixture at {sample_rate}")
        return check_stem(name, stem, mixture)

    return separate


def _filled(part: str, values: dict[str, str]) -> str:
    # In one pass, so that braces in a query stay as they are.
    return re.sub(r"\{(?:mixture|query|output)\}", lambda match: values[match[0]], part)


def _run(name: str, arguments: list[str]) -> None:
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise SeparatorError(f"{name} cannot be started: {error}") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())[-_LAST_WORDS:]
        raise SeparatorError(f"{name} ended with code {done.returncode}: {words or 'no message'}")


def _guarded(name: str, function: Separate) -> Separate:
    def separate(mixture: NDArray[np.float32], sample_rate: int, query: str) -> NDArray[np.float32]:
        try:
            stem = function(mixture.copy(), sample_rate, query)
        except AudioSepError:
            raise
        except Exception as error:
            raise SeparatorError(f"{name} raised {type(error).__name__}: {error}") from error
        return check_stem(name, stem, mixture)

    return separate


def _called(target: str) -> Separate:
    """The function that a target stands for; a class is called with its arguments, all texts."""
    found = _import(target)
    match = _CALLABLE.fullmatch(target)
    given = match[3] if match else None
    if given is not None or isinstance(found, type):
        arguments = [part.strip() for part in given.split(",")] if given else []
        try:
            found = found(*arguments)
        except AudioSepError:
            raise
        except Exception as error:
            raise UsageError(
                f"--compare {target!r} raised {type(error).__name__}: {error}"
            ) from None
    function: Separate = getattr(found, "separate", found)
    if not callable(function):
        raise UsageError(f"--compare {target!r} is no function and has no method 'separate'")
    return function


def _import(target: str) -> Any:
    module, _, attribute = target.partition("(")[0].partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        # As with python -m, a module beside the user counts.
        sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise UsageError(f"--compare {target!r} cannot be imported: {error}") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
