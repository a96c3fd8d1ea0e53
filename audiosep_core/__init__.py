"""AudioSep: separate any sound you can describe.

    >>> from audiosep_core import Separator
    >>> stems = Separator().separate(audio, sample_rate, ["a person speaking", "acoustic guitar"])

All that can be asked of a separation, offline and live, is one value, :class:`Settings`.

Importing this package imports no PyTorch; the network runs in ONNX Runtime. Its folders and
modules, none of which imports one that stands below it here:

* ``errors``, ``extras``, ``atomic``, ``arrays``: what can go wrong, what to install, files written
  whole, sound in any array
* ``model``: what a network is, where models lie; the network in PyTorch
* ``signal``: the arithmetic of streams of sound
* ``query``: from words to embeddings
* ``runtime``: the network in ONNX Runtime
* ``settings``, ``separator``: what is asked for, and the front door
* ``demo``: a mixture that ships
* ``files``: sound files, pictures, runs over many files
* ``commands``: the command ``audiosep``

The classes named here are imported when they are first used.

Imports: audiosep_core.commands, audiosep_core.model, audiosep_core.query, audiosep_core.runtime,
audiosep_core.signal; numpy.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# From 1.29 on ONNX Runtime reports every session to its makers, hashes of the model included,
# unless this is set before it is imported. Whoever wants that can set it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from audiosep_core.errors import (
    AudioFileError,
    AudioSepError,
    BundleError,
    DeviceError,
    QueryError,
)

if TYPE_CHECKING:
    from audiosep_core.separator import Separator, Stems
    from audiosep_core.settings import Query, Settings

__version__ = "0.1.0"

__all__ = [
    "AudioFileError",
    "AudioSepError",
    "BundleError",
    "DeviceError",
    "Query",
    "QueryError",
    "Separator",
    "Settings",
    "Stems",
    "__version__",
]

_HOMES = {
    "Query": "audiosep_core.settings",
    "Separator": "audiosep_core.separator",
    "Settings": "audiosep_core.settings",
    "Stems": "audiosep_core.separator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
