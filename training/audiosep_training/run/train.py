"""Sets a training up and runs it: on one CPU, one GPU, or many nodes."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from torch.distributed import is_torchelastic_launched

from audiosep_core.commands.console import console
from audiosep_core.extras import needed_for
from audiosep_core.model.checkpoint import load_weights, network_weights, read_checkpoint
from audiosep_core.model.network import DecoderBlock, EncoderBlock
from audiosep_training.config.schema import ConfigError, RunConfig, TrainingConfig
from audiosep_training.data.data_module import TrainingData, sample_rate
from audiosep_training.messages import print_line
from audiosep_training.run import audiosep
from audiosep_training.run.checkpoints import (
    LAST,
    AtomicCheckpointIO,
    Checkpoints,
    StopRequestedError,
    check_resumable,
    restored_signals,
)
from audiosep_training.run.examples_logger import ExamplesLogger
from audiosep_training.run.log import BadClips, RunLog
from audiosep_training.run.module import SeparationModule, TrainedModule
from audiosep_training.run.streaming import average_weights
from audiosep_training.run.streaming_module import StreamingModule
from audiosep_training.systems.loading import open_recipe, system_weights


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
    torch.manual_seed(config.seed)
    module = _module(config, data)
    run.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(run, config.run)
    with warnings.catch_warnings(), restored_signals():
        warnings.filterwarnings("ignore", module=r"(lightning|torch)\..*")
        try:
            trainer = _trainer(config, run, data, checkpoints)
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(f"[run] does not fit this machine: {error}") from None
        _check_started(trainer.world_size)
        _check_alone(config, module, trainer.world_size)
        last = _starting_point(config, run, module, trainer.world_size, initial)
        with contextlib.suppress(StopRequestedError):
            trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
    return checkpoints.stopped_by


def _module(config: TrainingConfig, data: TrainingData) -> TrainedModule:
    """What is trained, with fresh weights."""
    if config.system.name:
        if data.condition_size:
            raise ConfigError(
                f"{config.system.name} is not trained on a corpus; give --list FILE or --shards "
                "PLACE"
            )
        with needed_for(config.system.name, "export,train"):
            return SeparationModule(config, open_recipe(config))
    encoder = audiosep.fitting_encoder(config, data)
    if config.streaming:
        return StreamingModule(config)
    return SeparationModule(config, audiosep.AudioSepRecipe(config, encoder))


def _starting_point(
    config: TrainingConfig,
    run: Path,
    module: TrainedModule,
    processes: int,
    initial: Path | None,
) -> Path | None:
    """The checkpoint to go on from; None for a new run, which takes the initial weights."""
    last = run / LAST
    if last.is_file():
        check_resumable(last, config, processes)
        print_line(f"going on from {last}")
        return last
    if initial is not None:
        content = read_checkpoint(initial)
        weights = system_weights(content) if config.system.name else network_weights(content)
        load_weights(module.ss_model, weights)
    return None


def _check_started(processes: int) -> None:
    """Refuse processes that do not know of each other: each would train all, in one folder."""
    if not is_torchelastic_launched():
        return
    started = int(os.environ["WORLD_SIZE"])
    if started != processes:
        raise ConfigError(
            f"torchrun started {started} processes, [run] describes {processes}; set run.devices "
            "to its --nproc-per-node, run.nodes to its --nnodes, and run.strategy = 'ddp'"
        )


def _check_alone(config: TrainingConfig, module: TrainedModule, processes: int) -> None:
    alone = isinstance(module, SeparationModule) and module.recipe.alone
    if alone and (processes > 1 or config.run.precision == "16-mixed"):
        raise ConfigError(
            f"{config.system.name} is trained by one process, and not with run.precision "
            "'16-mixed'; set run.devices = 1, run.nodes = 1 and another precision"
        )


def _trainer(
    config: TrainingConfig, run: Path, data: TrainingData, checkpoints: Checkpoints
) -> Trainer:
    chosen = config.run
    callbacks: list[Callback] = [RunLog(run, chosen.log_every), ExamplesLogger(sample_rate(config))]
    callbacks += [BadClips(run, config, data.clips), checkpoints]
    if config.optimiser.ema:
        average = average_weights(config.optimiser.ema)
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
