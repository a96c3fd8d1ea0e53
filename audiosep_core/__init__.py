"""AudioSep: separate any sound you can describe.

    >>> from audiosep_core import Separator
    >>> stems = Separator().separate(audio, sample_rate, ["a person speaking", "acoustic guitar"])

Importing this package imports no PyTorch; the network runs in ONNX Runtime.
"""

import os

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
from audiosep_core.separator import Separator, Stems

__version__ = "0.1.0"

__all__ = [
    "AudioFileError",
    "AudioSepError",
    "BundleError",
    "DeviceError",
    "QueryError",
    "Separator",
    "Stems",
    "__version__",
]
