"""What a run leaves behind besides weights: a log a line, and the clips that could not be used."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch, DataError
from audiosep_training.data.data_module import BAD_CLIPS

#: File in the run's folder with one JSON object a line.
LOG = "log.jsonl"
_FEWEST_CLIPS = 100


class RunLog(Callback):
    """Appends step, mean loss, rate and seconds a step to ``log.jsonl``; SDRi when validated."""

    def __init__(self, folder: Path, every: int) -> None:
        self._path = folder / LOG
        self._every = every
        self._losses: list[torch.Tensor] = []
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collect the loss, and write what is due."""
        self._losses.append(outputs["loss"].detach())
        step = trainer.global_step
        if step % self._every and step != trainer.max_steps:
            return
        record = {
            "step": step,
            "loss": round(float(torch.stack(self._losses).mean()), 4),
            "rate": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round((time.monotonic() - self._started) / len(self._losses), 3),
        }
        pl_module.log("rate", record["rate"], batch_size=1)
        self._write(trainer, record)
        self._losses.clear()
        self._started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the SDRi, and leave the time it took out of that of the steps."""
        sdri = round(float(trainer.callback_metrics["sdri"]), 4)
        self._write(trainer, {"step": trainer.global_step, "sdri": sdri})
        self._losses.clear()
        self._started = time.monotonic()

    def _write(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


class BadClips(Callback):
    """Names the clips that turned out unusable, and ends training when they are too many.

    Args:
        folder: Of the run.
        config: The training.
        clips: How many there are in all, 0 if unknown.
    """

    def __init__(self, folder: Path, config: TrainingConfig, clips: int) -> None:
        self._path = folder / BAD_CLIPS
        self._share = config.data.max_bad_share
        self._batch = config.data.batch
        self._clips = clips
        self._bad: set[str] = set()
        self._met = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """End training where the data do.

        Raises:
            DataError: There are no more batches.
        """
        if "failure" in batch:
            raise DataError(batch["failure"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, _: int
    ) -> None:
        """Note what a batch could not use.

        Raises:
            DataError: More clips are unusable than ``data.max_bad_share`` allows.
        """
        self._met += self._batch
        new = set(batch["bad"]) - self._bad
        if not new:
            return
        self._bad |= new
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{sentence}\n" for sentence in sorted(new)))
        pl_module.log("bad_clips", float(len(self._bad)), batch_size=1)
        total = max(self._clips or self._met, _FEWEST_CLIPS)
        if len(self._bad) > self._share * total:
            raise DataError(
                f"{len(self._bad)} clips could not be used, more than data.max_bad_share allows "
                f"({self._share:.1%}), {sorted(new)[0]} the last of them; all are listed in "
                f"{self._path}"
            )
