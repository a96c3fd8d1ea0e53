"""Scores an exported model on held-out mixtures, through the runtime that ships.

python -m training.evaluate CORPUS --model mini --count 400
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.progress import track

from audiosep_core import Separator
from training.corpus.store import SAMPLE_RATE, Corpus
from training.metrics import sdr_improvement, si_sdr
from training.pairs import held_out

_SECONDS = 4.0


def evaluate(
    corpus: Corpus, separator: Separator, count: int, seed: int
) -> dict[str, dict[str, float]]:
    """Mean SDRi and SI-SDR by domain of the target, and over all.

    Args:
        corpus: Its test split is mixed at 0 dB, two classes at a time.
        separator: The model.
        count: Number of mixtures.
        seed: Of the mixtures.

    Returns:
        Domain, or "all", to {"mixtures", "sdri", "si_sdr"}.
    """
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    mixtures = held_out(corpus, count, int(_SECONDS * SAMPLE_RATE), seed)
    for mixture, query in track(mixtures, "separating", total=count):
        target = mixture.sources[0]
        estimate = separator.separate(mixture.mixture, SAMPLE_RATE, [query])[query]
        score = (
            sdr_improvement(target.audio, estimate, mixture.mixture),
            si_sdr(target.audio, estimate),
        )
        scores[target.domain].append(score)
        scores["all"].append(score)
    report = {}
    for domain in sorted(scores, key=lambda name: (name == "all", name)):
        sdri, scale_invariant = np.mean(scores[domain], axis=0)
        report[domain] = {
            "mixtures": len(scores[domain]),
            "sdri": round(float(sdri), 3),
            "si_sdr": round(float(scale_invariant), 3),
        }
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder written by training.corpus.build")
    parser.add_argument("--model", default="mini", help="name of a model or path of a bundle")
    parser.add_argument("--count", type=int, default=400, help="number of mixtures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    report = evaluate(
        Corpus(arguments.corpus), Separator(arguments.model), arguments.count, arguments.seed
    )
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{'target':<14} {'mixtures':>8} {'SDRi dB':>8} {'SI-SDR dB':>10}")
    for domain, row in report.items():
        print(f"{domain:<14} {row['mixtures']:>8} {row['sdri']:>8.2f} {row['si_sdr']:>10.2f}")


if __name__ == "__main__":
    main()
