"""Sound and spectrograms of validation mixtures in TensorBoard."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from audiosep_core.files.picture import check_drawing
from audiosep_core.files.spectrogram import draw_spectrograms
from audiosep_training.data.batches import Batch

_EXAMPLES = 4


class ExamplesLogger(Callback):
    """Logs mixture, target and estimate of the first few validation mixtures.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """

    def __init__(self, sample_rate: int) -> None:
        # Not only at the first validation, hours later.
        check_drawing()
        self._sample_rate = sample_rate

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log one mixture."""
        if batch_idx >= _EXAMPLES or not trainer.is_global_zero or trainer.logger is None:
            return
        parts = {"mixture": batch["mixture"], "target": batch["target"], "estimate": outputs}
        sounds = {name: part[0].detach().float().cpu().numpy() for name, part in parts.items()}
        title = f"{batch_idx} {batch['captions'][0]:.60}"
        board: Any = trainer.logger.experiment  # type: ignore[attr-defined]
        for name, sound in sounds.items():
            board.add_audio(
                f"{title}/{name}", sound.clip(-1, 1), trainer.global_step, self._sample_rate
            )
        figure = draw_spectrograms(sounds, self._sample_rate)
        board.add_figure(f"{title}/spectrograms", figure, trainer.global_step)
