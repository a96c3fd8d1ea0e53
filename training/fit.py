"""Fits a small network on a corpus, on the CPU: how the shipped ``mini`` came to be.

    python -m training.fit CORPUS RUN --steps 4700

Two processes of one thread each (RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, as torchrun
does) share the work with less waiting than one process of two threads.

The run resumes from its folder when called again. The rate rises, stays, and falls over the
last ``--decay-steps``; a longer run can thus continue from an earlier one's stable phase.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from audiosep_core.config import SeparatorConfig, get_config
from audiosep_core.network import SeparatorNetwork, build_network
from training.corpus.store import Corpus
from training.metrics import sdr_improvement
from training.pairs import PairSampler, held_out
from training.queries import PhraseBook

_WARMUP_STEPS = 100
_EMA_DECAY = 0.997
_VALIDATION_MIXTURES = 160


def segment_samples(config: SeparatorConfig, cells: int) -> int:
    """The longest segment that fills ``cells`` × 32 frames without padding."""
    return cells * config.frame_multiple * config.hop - 1


def separation_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Log of the L1 error on the waveform, and of its root mean square, both over the target's.

    The logarithm weighs quiet and loud, easy and hard examples alike, as SDRi does.

    Args:
        estimate: (batch, 1, samples).
        target: (batch, 1, samples).
    """
    error = estimate - target
    absolute = error.abs().mean((1, 2)) / target.abs().mean((1, 2)).clamp_min(1e-5)
    square = error.square().mean((1, 2)) / target.square().mean((1, 2)).clamp_min(1e-9)
    return 0.5 * torch.log(absolute + 0.02).mean() + 0.25 * torch.log(square + 0.001).mean()


class Batches:
    """Mixtures prepared on a thread; every mixture is asked for both of its sources.

    Batch ``n`` depends on the seed and ``n`` alone, so a resumed run sees what an
    uninterrupted one would have seen.
    """

    def __init__(
        self,
        sampler: PairSampler,
        phrases: PhraseBook,
        mixtures: int,
        seed: tuple[int, ...],
        first: int,
    ) -> None:
        self._sampler = sampler
        self._phrases = phrases
        self._mixtures = mixtures
        self._seed = seed
        self._queue: queue.Queue[tuple[Tensor, Tensor, Tensor]] = queue.Queue(3)
        threading.Thread(target=self._fill, args=(first,), daemon=True).start()

    def _fill(self, index: int) -> None:
        while True:
            self._queue.put(self._batch(np.random.default_rng([*self._seed, index])))
            index += 1

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        mixtures, targets, conditions = [], [], []
        for _ in range(self._mixtures):
            pair = self._sampler.mixture(rng)
            scale = np.float32(10 ** rng.uniform(-1, 0.3))
            for source in pair.sources:
                mixtures.append(pair.mixture * scale)
                targets.append(source.audio * scale)
                conditions.append(self._phrases.draw(source.label, rng))
        stacked = (torch.from_numpy(np.stack(part)) for part in (mixtures, targets, conditions))
        mixture, target, condition = stacked
        return mixture[:, None], target[:, None], condition

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mixture and target (batch, 1, samples), condition (batch, condition_size)."""
        return self._queue.get()


@torch.no_grad()
def validate(net: torch.nn.Module, corpus: Corpus, phrases: PhraseBook, samples: int) -> float:
    """Mean SDRi in dB over held-out mixtures of ``samples`` samples."""
    net.eval()
    scores = []
    for mixture, query in held_out(corpus, _VALIDATION_MIXTURES, samples):
        with torch.autocast("cpu", torch.bfloat16):
            estimate = net(
                torch.from_numpy(mixture.mixture)[None, None],
                torch.from_numpy(phrases.embed(query))[None],
            )
        estimate = estimate[0, 0].float().numpy()
        scores.append(sdr_improvement(mixture.sources[0].audio, estimate, mixture.mixture))
    net.train()
    return float(np.mean(scores))


def rate_at(step: int, peak: float, steps: int, decay_steps: int) -> float:
    """Learning rate: linear warm-up, constant, linear decay to zero."""
    return peak * min(1.0, (step + 1) / _WARMUP_STEPS, max(0.0, (steps - step) / decay_steps))


def average_gradients(net: SeparatorNetwork) -> None:
    """Replace every gradient by its mean over all processes."""
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the previous one whole."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def fit(arguments: argparse.Namespace) -> None:
    """Train until ``--steps``; writes ``last.pt`` (resumable) and ``ema.pt`` (weights to ship)."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    rank = int(os.environ.get("RANK", 0))
    alone = int(os.environ.get("WORLD_SIZE", 1)) == 1
    if not alone:
        distributed.init_process_group("gloo")
    config = get_config(arguments.config)
    run = Path(arguments.run)
    run.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(Path(arguments.corpus))
    phrases = PhraseBook(corpus)
    net = build_network(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_EMA_DECAY), use_buffers=True
    )
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=arguments.weight_decay
    )
    step = 0
    last = run / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        net.load_state_dict(state["net"], strict=False)
        average.load_state_dict(state["average"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    sampler = PairSampler(corpus, "train", segment_samples(config, arguments.cells))
    batches = Batches(sampler, phrases, arguments.mixtures, (arguments.seed, rank), step)
    losses: list[float] = []
    started = time.monotonic()
    while step < arguments.steps:
        rate = rate_at(step, arguments.rate, arguments.steps, arguments.decay_steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        mixture, target, condition = batches.next()
        with torch.autocast("cpu", torch.bfloat16):
            estimate = net(mixture, condition)
        loss = separation_loss(estimate, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if not alone:
            average_gradients(net)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(net)
        losses.append(loss.item())
        step += 1
        if step % 50 == 0 and rank == 0:
            record: dict[str, float] = {"step": step, "loss": round(float(np.mean(losses)), 4)}
            record["rate"] = rate
            record["seconds"] = round((time.monotonic() - started) / len(losses), 3)
            if step % arguments.every == 0 or step == arguments.steps:
                record["sdri"] = validate(
                    average.module, corpus, phrases, segment_samples(config, 6)
                )
                keep = {
                    "net": net.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                }
                save(last, keep)
                weights = average.module.state_dict()
                save(
                    run / "ema.pt",
                    {"config": config.to_dict(), "state_dict": weights, "step": step},
                )
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(record, flush=True)
            losses.clear()
            started = time.monotonic()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", help="folder written by training.corpus.build")
    parser.add_argument("run", help="folder for checkpoints and the log; resumed if it exists")
    parser.add_argument("--config", default="mini")
    parser.add_argument("--steps", type=int, default=4700)
    parser.add_argument("--decay-steps", type=int, default=1500)
    parser.add_argument(
        "--mixtures", type=int, default=8, help="mixtures a batch, two queries each"
    )
    parser.add_argument("--cells", type=int, default=4, help="segment length in cells of 32 frames")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--seed", type=int, default=0)
    fit(parser.parse_args())


if __name__ == "__main__":
    main()
