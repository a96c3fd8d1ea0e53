"""Sets a training up and runs it: on one CPU, one GPU, or many nodes."""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from audiosep_core.checkpoint import load_weights, network_weights, read_checkpoint
from audiosep_core.commands.console import console
from audiosep_core.network import DecoderBlock, EncoderBlock
from training.checkpoints import (
    LAST,
    AtomicCheckpointIO,
    Checkpoints,
    StopRequestedError,
    check_resumable,
    restored_signals,
)
from training.config import ConfigError, RunConfig, TrainingConfig
from training.data import TrainingData
from training.messages import tell
from training.module import SeparationModule
from training.panels import Panels
from training.query_encoders import QueryEncoder, open_encoder
from training.query_encoders.base import needs, place
from training.run_log import BadClips, RunLog

if TYPE_CHECKING:
    from training.query_encoders.bert import Bert


class _StepProgress(RichProgressBar):
    """Counts towards all steps of the run; batches have no end of their own."""

    @property
    def total_train_batches(self) -> int | float:
        return self.trainer.max_steps


def train(config: TrainingConfig, run: Path, initial: Path | None = None) -> int | None:
    """Train, or go on with, what a configuration describes.

    Args:
        config: The training.
        run: Folder for checkpoints, log and TensorBoard; a run that is there is continued.
        initial: Checkpoint whose weights a new run starts from.

    Returns:
        The number of the signal that ended training early, or None.

    Raises:
        ConfigError: The configuration does not fit its data or the machine.
        CheckpointError: The run's checkpoint is of another training, or the weights do not fit.
        DataError: The sounds cannot be used.
    """
    if config.untrained:
        raise ConfigError(f"{config.name} is not trained here: {config.untrained}")
    # Lightning's own remarks on devices and settings are no news to who runs a training.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    data = TrainingData(config, run)
    encoder, query = _queries(config, data)
    made_by = encoder or query
    _check_size(config, made_by.size if made_by else data.condition_size)
    module = SeparationModule(config, encoder, query)
    run.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(run, config.run)
    with warnings.catch_warnings(), restored_signals():
        warnings.filterwarnings("ignore", module=r"(lightning|torch)\..*")
        try:
            trainer = _trainer(config, run, data, checkpoints)
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(f"[run] does not fit this machine: {error}") from None
        last = _starting_point(config, run, module, trainer.world_size, initial)
        with contextlib.suppress(StopRequestedError):
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    return checkpoints.stopped_by


def _starting_point(
    config: TrainingConfig,
    run: Path,
    module: SeparationModule,
    processes: int,
    initial: Path | None,
) -> Path | None:
    """The checkpoint to go on from; None for a new run, which takes the initial weights."""
    last = run / LAST
    if last.is_file():
        check_resumable(last, config, processes)
        tell(f"going on from {last}")
        return last
    if initial is not None:
        load_weights(module.ss_model, network_weights(read_checkpoint(initial)))
    return None


def _queries(config: TrainingConfig, data: TrainingData) -> tuple[QueryEncoder | None, Bert | None]:
    """The frozen encoder, or the one that is trained along; neither if data bring conditions."""
    if data.condition_size:
        if config.query.encoder != "sentence":
            raise ConfigError("a corpus brings queries of its own; set query.encoder = 'sentence'")
        return None, None
    if config.query.tune:
        try:
            from training.query_encoders.bert import Bert
        except ModuleNotFoundError as error:
            raise needs(error, config.query.encoder) from None
        return None, Bert(place(config.query.checkpoint, "query.checkpoint", "BERT's folder"))
    return open_encoder(config.query), None


def _check_size(config: TrainingConfig, size: int) -> None:
    if size != config.network.condition_size:
        raise ConfigError(
            f"the query encoder {config.query.encoder!r} gives {size} values; set "
            f"network.condition_size = {size}, not {config.network.condition_size}"
        )


def _trainer(
    config: TrainingConfig, run: Path, data: TrainingData, checkpoints: Checkpoints
) -> Trainer:
    chosen = config.run
    callbacks: list[Callback] = [RunLog(run, chosen.log_every), Panels(config.network.sample_rate)]
    callbacks += [BadClips(run, config, data.clips), checkpoints]
    if config.optimiser.ema:
        average = get_ema_multi_avg_fn(config.optimiser.ema)
        callbacks.insert(0, WeightAveraging(multi_avg_fn=average))
    if console.is_terminal:
        callbacks.append(_StepProgress())
    return Trainer(
        accelerator=chosen.accelerator,
        devices=chosen.devices or "auto",
        num_nodes=chosen.nodes,
        strategy=_strategy(chosen.strategy),
        precision=chosen.precision,  # type: ignore[arg-type]
        max_steps=chosen.steps,
        max_epochs=-1,
        val_check_interval=chosen.validate_every or None,
        check_val_every_n_epoch=None,
        limit_val_batches=None if chosen.validate_every else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=chosen.log_every,
        gradient_clip_val=config.optimiser.clip_norm or None,
        sync_batchnorm=chosen.sync_batchnorm and _on_gpu(chosen),
        use_distributed_sampler=False,
        callbacks=callbacks,
        logger=TensorBoardLogger(run, name="", version=""),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=console.is_terminal,
        enable_model_summary=False,
        default_root_dir=run,
    )


def _on_gpu(run: RunConfig) -> bool:
    """Whether training runs on GPUs; PyTorch shares batch norms between those alone."""
    return run.accelerator != "cpu" and torch.cuda.is_available()


def _strategy(name: str) -> str | Strategy:
    if name != "fsdp":
        return name
    return FSDPStrategy(state_dict_type="full", auto_wrap_policy={EncoderBlock, DecoderBlock})
