"""Checkpoints of a run: written whole or not at all, every so often and when a signal asks."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from audiosep_core.atomic import replacing
from audiosep_core.model.checkpoint import CheckpointError, read_checkpoint
from audiosep_training.config.schema import RunConfig, TrainingConfig, differing_field
from audiosep_training.messages import print_line

#: Name of the checkpoint that a run goes on from.
LAST = "last.ckpt"
_STOP = [signal.SIGTERM, signal.SIGINT]
_SAVE = [signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the old checkpoint and replaces it at the end."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: There is no room, or no right to write; the old one is untouched.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial, partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} cannot be written ({error}); the checkpoint before it is whole: make "
                "room and run the same command again"
            ) from None

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint without running anything that is in it."""
        return read_checkpoint(Path(path))


class StopRequestedError(Exception):
    """A signal ended training; its checkpoint is written."""


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt``, and others to keep.

    SIGUSR1 asks for a checkpoint, SIGTERM and the first SIGINT for one and an end; all processes
    of a training do what one of them is asked.

    Attributes:
        stopped_by: The signal that ended training, or None.
    """

    def __init__(self, folder: Path, run: RunConfig) -> None:
        self.stopped_by: int | None = None
        self._folder = folder
        self._run = run
        self._asked_to_save = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, Lightning's handler of SIGTERM included."""
        wanted: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            **dict.fromkeys(_STOP, self._stop),
            **dict.fromkeys(_SAVE, self._save),
        }
        for number, handler in wanted.items():
            signal.signal(number, handler)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write what is due.

        Raises:
            StopRequestedError: A signal asked for an end.
        """
        step = trainer.global_step
        agree = trainer.strategy.reduce_boolean_decision
        stop = agree(self.stopped_by is not None, all=False)
        asked = agree(self._asked_to_save, all=False)
        self._asked_to_save = False
        if stop or asked or step % self._run.checkpoint_every == 0 or step == self._run.steps:
            trainer.save_checkpoint(self._folder / LAST)
        if self._run.keep_every and step % self._run.keep_every == 0:
            trainer.save_checkpoint(self._folder / f"step-{step:08d}.ckpt")
        if stop:
            # Lightning's own way to stop would validate first, longer than a scheduler waits.
            raise StopRequestedError

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = number
        # A second one does not wait for the step to end.
        signal.signal(number, signal.default_int_handler)

    def _save(self, number: int, frame: FrameType | None) -> None:
        self._asked_to_save = True


@contextlib.contextmanager
def restored_signals() -> Iterator[None]:
    """Whatever takes over signals within, their handlers are the same afterwards."""
    before = {number: signal.getsignal(number) for number in (*_STOP, *_SAVE)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_resumable(path: Path, config: TrainingConfig, processes: int) -> None:
    """Refuse to go on from a checkpoint of another training.

    Args:
        path: The checkpoint.
        config: What is to be trained.
        processes: How many train together.

    Raises:
        CheckpointError: It is damaged, no checkpoint of a training, or of one that differs; the
            message names the first field that does.
    """
    content = read_checkpoint(path)
    stored = content.get("training")
    if not isinstance(stored, dict):
        raise CheckpointError(
            f"{path} is no checkpoint of 'audiosep train'; give another --run, and start from its "
            "weights with --init"
        )
    if content.get("processes") != processes:
        print_line(
            f"{path} was written by {content.get('processes')} processes, now there are "
            f"{processes}: the batches that follow are not those it would have gone on with"
        )
    differing = differing_field(stored, config)
    if differing is not None:
        field, before, now = differing
        raise CheckpointError(
            f"{path} is of another training: {field} is {before!r} there and {now!r} here; set it "
            f"back with --set {field}={before}, or give another --run"
        )
