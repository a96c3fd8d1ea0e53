"""The commands for sounds, trainings and benchmarks.

The top of this package. This module is read for every ``audiosep --help``: it imports no command.

Imports: audiosep_core.commands, audiosep_core.files, audiosep_core.model, audiosep_core.video,
audiosep_training.config, audiosep_training.corpus, audiosep_training.data,
audiosep_training.datasets, audiosep_training.evaluation.measures,
audiosep_training.evaluation.reporting, audiosep_training.evaluation.running,
audiosep_training.evaluation.sets, audiosep_training.run; click, numpy, rich.
"""

from audiosep_core.commands.lazy import LazyCommand

COMMANDS = {
    "corpus": LazyCommand(
        "audiosep_training.commands.corpus",
        "Build a corpus of openly licensed sounds.",
        "train",
    ),
    "lists": LazyCommand(
        "audiosep_training.commands.lists",
        "List the clips of a dataset for training.",
        "train",
    ),
    "shards": LazyCommand(
        "audiosep_training.commands.shards",
        "Pack listed clips into shards for training.",
        "train",
    ),
    "train": LazyCommand(
        "audiosep_training.commands.train",
        "Train a separator.",
        "train",
    ),
    "narrow": LazyCommand(
        "audiosep_training.commands.narrow",
        "Make a trained streaming network narrower.",
        "train",
    ),
    "ablate": LazyCommand(
        "audiosep_training.commands.ablate",
        "Train at several shares of text queries and compare.",
        "train",
    ),
    "evaluate": LazyCommand(
        "audiosep_training.commands.evaluate",
        "Measure separation on benchmarks.",
        "train",
    ),
}
