"""How USS and AudioSet-UNet are trained, on anchor segments, and asked, by examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_core.model.checkpoint import CheckpointError
from audiosep_core.model.network import freeze_unused
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.data.classes import CLASSES
from audiosep_training.query_encoders.opening import existing
from audiosep_training.systems import build_system
from audiosep_training.systems.recipe import Ask, Frozen, Recipe
from audiosep_training.systems.uss.anchors import (
    SEGMENT_SAMPLES,
    anchor_starts,
    cut_segments,
    mix_with_next,
)
from audiosep_training.systems.uss.audioset_unet import AudioSetUNet
from audiosep_training.systems.uss.network import UssResUNet30
from audiosep_training.systems.uss.panns import Cnn14, Cnn14DecisionLevelMax, load_panns
from audiosep_training.systems.uss.queries import (
    class_query,
    condition_of,
    read_example,
    without_silence,
)

_TAGGER = "PANNs' Cnn14"
_DETECTOR = "PANNs' Cnn14_DecisionLevelMax"
_Network = UssResUNet30 | AudioSetUNet
#: What :func:`open_ask` knows.
OPTIONS = ("examples", "tagger", "silence")


class UssRecipe(Recipe[_Network]):
    """Finds in every clip the two seconds of its class, and mixes each with the next.

    Args:
        network: What is asked by PANNs' answer to a sound.
        tagger: Gives that answer.
        detector: Finds the segments.
    """

    def __init__(self, network: _Network, tagger: Cnn14, detector: Cnn14DecisionLevelMax) -> None:
        super().__init__(network)
        if isinstance(network, UssResUNet30):
            freeze_unused(network)
        self._tagger = Frozen(tagger)
        self._detector = Frozen(detector)

    def loss(self, batch: Batch) -> Tensor:
        """Of the waveform."""
        clips = batch["target"][:, 0]
        with torch.no_grad():
            framewise = self._detector.on(self.device)(clips).framewise
            segments = cut_segments(clips, anchor_starts(framewise, batch["classes"]))
            condition = self._condition(segments)
        return self.network.loss(mix_with_next(segments), segments, condition)

    def separate(self, batch: Batch) -> Tensor:
        """What the targets themselves ask for."""
        condition = self._condition(batch["target"][:, 0])
        return self.network.separate(batch["mixture"][:, 0], condition)[:, None]

    @torch.no_grad()
    def _condition(self, sounds: Tensor) -> Tensor:
        return condition_of(self._tagger.on(self.device), sounds, self.network.condition)


def open_recipe(config: TrainingConfig) -> UssRecipe:
    """The recipe with fresh weights of the separator.

    Raises:
        ConfigError: Clips are not drawn by class, are too short, or are mixed beforehand.
        UsageError: ``query.checkpoint`` or ``query.detector`` is not set or not there.
        CheckpointError: One of them is not PANNs'.
    """
    if not config.data.balance:
        raise ConfigError(
            f"{config.system.name} is trained on clips of known classes; set data.balance = true"
        )
    if config.data.segment_samples < SEGMENT_SAMPLES:
        raise ConfigError(
            f"data.segment_samples must be {SEGMENT_SAMPLES} (2 s) at least, out of which a "
            "segment is cut"
        )
    if config.mixing.rule != "factors" or config.mixing.factors != (1.0, 1.0):
        raise ConfigError(
            "segments are mixed after they are found; set mixing.rule = 'factors' and "
            "mixing.factors = [1, 1]"
        )
    tagger = load_panns(Cnn14, existing(config.query.checkpoint, "query.checkpoint", _TAGGER))
    detector = load_panns(
        Cnn14DecisionLevelMax, existing(config.query.detector, "query.detector", _DETECTOR)
    )
    network = build_system(config.system.name, **config.system.options)
    assert isinstance(network, UssResUNet30 | AudioSetUNet)
    return UssRecipe(network, tagger, detector)


def open_ask(network: _Network, stored: Mapping[str, Any], options: Mapping[str, str]) -> Ask:
    """How the network is asked.

    Args:
        network: In evaluation mode.
        stored: Not needed.
        options: ``examples``: a folder with sounds ``QUERY.wav``, or folders of them, and
            ``tagger``: PANNs' Cnn14; ``silence=removed`` cuts silence out of them, as the
            released evaluation does for Voicebank. Without both, a network that is asked by
            probabilities takes the name of one of AudioSet's classes.

    Raises:
        CheckpointError: Too little is given, or a file is not what it should be.
    """
    if {"examples", "tagger"} <= options.keys():
        return _by_examples(network, options)
    if network.condition != "probabilities":
        raise CheckpointError(
            "USS is asked by sounds; give a folder of examples and PANNs' Cnn14, as in --compare "
            "'uss=uss.ckpt(examples=FOLDER, tagger=Cnn14.pth)'"
        )

    def ask(text: str) -> Tensor:
        number = {name.casefold(): number for name, number in CLASSES.items()}.get(text.casefold())
        if number is None:
            raise CheckpointError(
                f"{text!r} is no class of AudioSet; give examples of it and PANNs' Cnn14: "
                "(examples=FOLDER, tagger=Cnn14.pth)"
            )
        return F.one_hot(torch.tensor([number]), len(CLASSES)).float()

    return ask


def _by_examples(network: _Network, options: Mapping[str, str]) -> Ask:
    folder = Path(options["examples"])
    net = load_panns(Cnn14, Path(options["tagger"]))
    known: dict[str, Tensor] = {}

    def ask(text: str) -> Tensor:
        if text not in known:
            files = _examples(folder, text)
            if not files:
                raise CheckpointError(
                    f"{folder} holds no example of {text!r}: neither a sound file nor a folder "
                    "of that name"
                )
            sounds = map(read_example, files)
            if options.get("silence") == "removed":
                sounds = map(without_silence, sounds)
            known[text] = class_query(net, sounds, network.condition)[None]
        return known[text]

    return ask


def _examples(folder: Path, text: str) -> list[Path]:
    """Sound files named by a query, or in the folder that is."""
    files = sorted(path for path in folder.glob("*") if path.stem == text or path.name == text)
    found = [
        file for path in files for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
    ]
    return [path for path in found if path.suffix.lower() in AUDIO_ENDINGS]
