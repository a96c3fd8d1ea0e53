"""A mixture that ships: real recordings under CC0, kept apart so that stems can be scored.

Imports: numpy, soundfile.
"""

from __future__ import annotations

import json
from importlib import resources
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray


def demo_sources() -> tuple[dict[str, NDArray[np.float32]], int]:
    """The sources, query to (channels, frames) float32, and their sample rate in Hz.

    Their sum is the mixture. ``SOURCES.json`` says where each one comes from.
    """
    folder = resources.files(__package__)
    sources = {}
    sample_rate = 0
    for entry in json.loads((folder / "SOURCES.json").read_text(encoding="utf-8")):
        data = (folder / entry["file"]).read_bytes()
        audio, sample_rate = soundfile.read(BytesIO(data), dtype="float32", always_2d=True)
        sources[str(entry["query"])] = np.ascontiguousarray(audio.T)
    return sources, sample_rate
