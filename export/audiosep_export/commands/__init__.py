"""The commands that need what an export needs, the bench against PyTorch among them.

The top of this package. This module is read for every ``audiosep --help``: it imports no command.

Imports: audiosep_core.commands, audiosep_core.model, audiosep_core.query, audiosep_core.runtime,
audiosep_export.bundle_writer, audiosep_export.graphs, audiosep_export.text,
audiosep_export.towers; click, numpy, onnx, onnxruntime, torch.
"""

from audiosep_core.commands.lazy import LazyCommand

COMMANDS = {
    "export": LazyCommand(
        "audiosep_export.commands.export",
        "Turn a checkpoint into a bundle.",
        "export",
    ),
    "models fetch": LazyCommand(
        "audiosep_export.commands.models_fetch",
        "Download a released model and convert it.",
        "export",
    ),
    "models ship": LazyCommand(
        "audiosep_export.commands.models_ship",
        "Make the bundle that ships from a training.",
        "export",
    ),
    "queries pack": LazyCommand(
        "audiosep_export.commands.queries_pack",
        "Compute all that depends on queries alone beforehand.",
        "export",
    ),
    "bench steps": LazyCommand(
        "audiosep_export.commands.bench_steps",
        "Single steps of a streaming network on a device: the proof of CUDA.",
        "export",
    ),
    "bench network": LazyCommand(
        "audiosep_export.commands.bench_network",
        "The exported network against PyTorch, in one run.",
        "export",
    ),
}
