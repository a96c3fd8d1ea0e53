"""Trains streaming networks for a given time on a machine with an accelerator and little else.

    PYTHONPATH=.:training python -m audiosep_training.run.device mini live
        --pack packed --out runs/device --minutes 10

It needs PyTorch, NumPy, soundfile and soxr (and Python 3.11, which reads TOML), no installation of
this package. The sounds, packed by ``audiosep corpus pack``, are decoded once into the device's
memory; all networks are trained on the same mixtures, which are made there. What is trained, and
how, are the configurations of ``audiosep train``, but for the steps: the time decides.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from audiosep_core.atomic import replacing
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_core.model.waveform_network import WaveformNetwork
from audiosep_training.config.files import load_config
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.pack import read_pack
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.mixer import MixedBatch, Mixer
from audiosep_training.mixer.sounds import SAMPLE_RATE
from audiosep_training.run.schedule import half_cosine
from audiosep_training.run.streaming import average_weights, make_optimiser, step_loss

#: Steps before the clock is trusted: the first ones choose kernels.
_WARM_UP_STEPS = 3
_LOG_EVERY = 25
#: Queries that nothing answers: few while the network learns what sounds are, as it would learn to
#: be silent when unsure; more from one share of the time on to another.
_ABSENT, _ABSENT_RISES = (0.03, 0.13), (0.35, 0.75)


class DeviceTraining:
    """A network, its average and its optimiser.

    Args:
        config: The training.
        batch: Examples a step.
        device: Where.
        compiled: Compile the network, which pays after some hundred steps.
    """

    def __init__(
        self, config: TrainingConfig, batch: int, device: torch.device, compiled: bool = False
    ) -> None:
        assert isinstance(config.network, StreamingConfig)
        torch.manual_seed(config.seed)
        self.config, self._device = config, device
        net = StreamingNetwork(config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: StreamingNetwork = net
        self._separator = WaveformNetwork(self.net, SAMPLE_RATE)
        average = average_weights(config.optimiser.ema)
        self.average = AveragedModel(self.net, multi_avg_fn=average, use_buffers=True)
        self._optimiser = make_optimiser(self.net.parameters(), config.optimiser, fused=True)
        self._past = torch.zeros(batch, config.network.recurrent, device=device)
        if compiled:
            self.net.compile()
        self.step = 0
        self._losses: list[torch.Tensor] = []
        self.log: list[dict[str, float]] = []

    def train_step(self, batch: MixedBatch, rate: float) -> None:
        """One step at a learning rate. A step whose gradient is not finite changes no weight."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        chance = Chance(self._device, self.config.seed, 0, self.step)
        on_gpu = self._device.type == "cuda"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=on_gpu):
            found, self._past = step_loss(
                self._separator,
                batch.mixture,
                batch.target,
                batch.queries.condition,
                batch.bandwidth,
                self._past,
                chance,
            )
        self._optimiser.zero_grad(set_to_none=True)
        found.loss.backward()
        parameters = self.net.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.optimiser.clip_norm)
        # As PyTorch's gradient scaler tells a fused optimiser: no wait for the device.
        self._optimiser.grad_scale = None  # type: ignore[attr-defined]
        self._optimiser.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        self._optimiser.step()
        self.average.update_parameters(self.net)
        sdri = found.sdri[found.present]
        median = sdri.median() if len(sdri) else found.loss.new_zeros(())
        self._losses.append(torch.stack([found.loss.detach(), median, norm.detach()]))
        self.step += 1

    def report(self) -> str:
        """A line on the steps since the last one."""
        loss, sdri, norm = torch.stack(self._losses).nanmean(0).tolist()
        skipped = int((~torch.stack(self._losses)[:, 2].isfinite()).sum())
        self._losses.clear()
        self.log.append({"step": self.step, "loss": loss, "sdri": sdri, "skipped": skipped})
        return (
            f"{self.config.name} loss {loss:.3f} sdri {sdri:.2f} norm {norm:.2f} skipped {skipped}"
        )

    def save(self, folder: Path) -> None:
        """Write ``NAME.ckpt``, to be exported, and ``NAME.state.ckpt``, to go on from.

        Weights that are not finite replace no checkpoint.
        """
        shipped = {f"ss_model.{name}": part for name, part in self._averaged().items()}
        if not all(part.isfinite().all() for part in shipped.values()):
            return
        described = {
            "config": self.config.network.to_dict(),
            "training": self.config.to_dict(),
            "steps": self.step,
        }
        state = {
            **described,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "past": self._past,
        }
        name = self.config.name
        _write({**described, "state_dict": shipped}, folder / f"{name}.ckpt")
        _write(state, folder / f"{name}.state.ckpt")
        with replacing(folder / f"{name}.json") as partial:
            partial.write_text(json.dumps(self.log), encoding="utf-8")

    def load(self, path: Path) -> None:
        """Go on from a ``NAME.state.ckpt``, or start from the weights of a ``NAME.ckpt``.

        Raises:
            RuntimeError: It is of another network.
        """
        content = torch.load(path, map_location=self._device, weights_only=True)
        if "net" not in content:
            weights = {
                name.removeprefix("ss_model."): part
                for name, part in content["state_dict"].items()
                if name.startswith("ss_model.")
            }
            self.net.load_state_dict(weights)
            return
        self.net.load_state_dict(content["net"])
        self.average.load_state_dict(content["average"])
        self._optimiser.load_state_dict(content["optimiser"])
        self.step = content["steps"]
        if content["past"].shape == self._past.shape:
            self._past = content["past"]

    def _averaged(self) -> dict[str, torch.Tensor]:
        return {name: part.float().cpu() for name, part in self.average.module.state_dict().items()}


def rate_after(done: float, config: TrainingConfig, step: int, decay: float) -> float:
    """Learning rate of a run that the clock ends.

    Args:
        done: Share of the time that has passed.
        config: Its rate and the steps of its warm-up.
        step: Number of the step in this run.
        decay: Share of the time, at its end, over which the rate falls to zero.
    """
    rising = min(1.0, (step + 1) / max(1, config.optimiser.warmup_steps))
    left = min(1.0, max(0.0, 1 - done) / decay) if decay else 1.0
    return config.optimiser.rate * rising * half_cosine(left)


def absent_after(done: float) -> float:
    """Share of the queries that nothing answers, once a share of the time has passed."""
    start, end = _ABSENT_RISES
    least, most = _ABSENT
    return least + (most - least) * min(1.0, max(0.0, (done - start) / (end - start)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Decode, train until the time is over, leave checkpoints."""
    chosen = _parser().parse_args(arguments)
    started = time.monotonic()
    end = started + 60 * chosen.minutes
    chosen.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(chosen.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    configs = [load_config(name, chosen.overrides) for name in chosen.networks]

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} {text}", flush=True)

    bank, vocabulary = read_pack(chosen.pack, device, chosen.workers)
    say(f"{len(bank.sounds)} clips, {bank.minutes:.0f} minutes")
    samples = round(chosen.seconds * SAMPLE_RATE)
    mixer = Mixer(bank, vocabulary, samples, configs[0].seed)
    trainings = [DeviceTraining(config, chosen.batch, device, chosen.compile) for config in configs]
    for training in trainings:
        found = [
            path
            for folder in (chosen.init and [chosen.init]) or []
            for kind in ("state.ckpt", "ckpt")
            if (path := folder / f"{training.config.name}.{kind}").is_file()
        ]
        if found:
            training.load(found[0])
            say(f"going on from {found[0]} after {training.step} steps")
    first = step = max(training.step for training in trainings)
    begun = saved = logged = time.monotonic()
    while (now := time.monotonic()) < end and (not chosen.steps or step - first < chosen.steps):
        if step - first == _WARM_UP_STEPS:
            begun = now
        done = (now - begun) / max(1e-9, end - begun)
        batch = mixer.batch(step, chosen.batch, absent_after(done))
        for training in trainings:
            rate = rate_after(done, training.config, step - first, chosen.decay)
            training.train_step(batch, rate)
        step += 1
        if (step - first) % _LOG_EVERY == 0:
            for training in trainings:
                say(f"{step} {training.report()}")
            say(f"{(time.monotonic() - logged) / _LOG_EVERY:.3f} s a step")
            logged = time.monotonic()
        if time.monotonic() - saved >= 60 * chosen.checkpoint_minutes:
            for training in trainings:
                training.save(chosen.out)
            saved = time.monotonic()
    for training in trainings:
        training.save(chosen.out)
    say(f"done after {step - first} steps of {chosen.batch} examples of {chosen.seconds:g} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audiosep_training.run.device")
    parser.add_argument("networks", nargs="+", help="configurations, such as mini and live")
    add: Any = parser.add_argument
    add("--pack", type=Path, nargs="+", required=True, help="what 'audiosep corpus pack' wrote")
    add("--out", type=Path, required=True, help="folder for checkpoints")
    add("--init", type=Path, help="folder with checkpoints to go on, or to start, from")
    add("--minutes", type=float, required=True, help="time for all, decoding included")
    add("--steps", type=int, default=0, help="end after so many steps, if the time allows")
    add("--decay", type=float, default=0.65, help="share of the time in which the rate falls")
    add("--batch", type=int, default=128, help="examples a step")
    add("--seconds", type=float, default=3.2, help="length of an example")
    add("--checkpoint-minutes", type=float, default=2.0, help="between checkpoints")
    add("--device", default="cuda")
    add("--compile", action="store_true", help="compile the networks before the first step")
    add("--workers", type=int, default=0, help="processes that decode; 0 is one a core")
    add("--set", action="append", default=[], dest="overrides", metavar="FIELD=VALUE")
    return parser


def _write(content: dict[str, Any], path: Path) -> None:
    with replacing(path) as partial:
        torch.save(content, partial)


if __name__ == "__main__":
    main()
