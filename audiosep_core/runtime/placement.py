"""Which execution provider every node of a graph really runs on."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def example_feed(graph: Path, frames: int) -> dict[str, NDArray[np.float32]]:
    """Ones for every input of a graph of either form: one query, so many frames.

    Args:
        graph: ``separator.onnx``.
        frames: What the network takes at a time, or a multiple of it.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return {
        value.name: np.ones(
            [1, *(size if isinstance(size, int) else frames for size in value.shape[1:])],
            np.float32,
        )
        for value in session.get_inputs()
    }


def node_placement(
    graph: Path, providers: Sequence[str], feed: Mapping[str, NDArray]
) -> dict[str, dict[str, int]]:
    """Run a graph once under ONNX Runtime's profiler and count its nodes.

    What a session lists as its providers tells what was asked for; this is what ran.

    Args:
        graph: An ONNX file.
        providers: Execution providers, the preferred one first.
        feed: Input name to array.

    Returns:
        Execution provider to operator to the number of nodes that ran. Nodes are those that are
        left after ONNX Runtime's own fusions.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(graph), options, providers=list(providers))
        session.run(None, dict(feed))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    placement: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        ran = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in ran:
            placement[ran["provider"]][ran["op_name"]] += 1
    return {provider: dict(sorted(nodes.items())) for provider, nodes in placement.items()}
