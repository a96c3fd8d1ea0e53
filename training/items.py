"""Writes held-out mixtures as sound files, for benches and for other separators.

    python -m training.items CORPUS FOLDER --count 60

makes ``FOLDER/000/mixture.wav``, ``target.wav`` and ``query.txt``, and so on: what ``audiosep
bench latency --items FOLDER`` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import soundfile

from training.corpus.store import SAMPLE_RATE, Corpus
from training.pairs import held_out


def write_items(corpus: Corpus, folder: Path, count: int, seconds: float, seed: int) -> None:
    """Write ``count`` mixtures of ``seconds`` seconds at 0 dB, as 32-bit float wav files."""
    mixtures = held_out(corpus, count, round(seconds * SAMPLE_RATE), seed)
    for number, (mixture, query) in enumerate(mixtures):
        item = folder / f"{number:03d}"
        item.mkdir(parents=True, exist_ok=True)
        sounds = {"mixture": mixture.mixture, "target": mixture.sources[0].audio}
        for name, audio in sounds.items():
            soundfile.write(item / f"{name}.wav", audio, SAMPLE_RATE, subtype="FLOAT")
        (item / "query.txt").write_text(query + "\n", encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="folder written by training.corpus.build")
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=60, help="number of mixtures")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus = Corpus(arguments.corpus)
    write_items(corpus, arguments.folder, arguments.count, arguments.seconds, arguments.seed)


if __name__ == "__main__":
    main()
