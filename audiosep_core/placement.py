"""Which execution provider every node of a graph really runs on."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from numpy.typing import NDArray


def node_placement(
    graph: Path, providers: Sequence[str], feed: Mapping[str, NDArray]
) -> dict[str, int]:
    """Run a graph once under ONNX Runtime's profiler and count its nodes.

    What a session lists as its providers tells what was asked for; this is what ran.

    Args:
        graph: An ONNX file.
        providers: Execution providers, the preferred one first.
        feed: Input name to array.

    Returns:
        Execution provider to the number of nodes that ran on it, most first. Nodes are those
        that are left after ONNX Runtime's own fusions.
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
    ran = {
        event["name"]: event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and event.get("args", {}).get("provider")
    }
    return dict(Counter(ran.values()).most_common())
