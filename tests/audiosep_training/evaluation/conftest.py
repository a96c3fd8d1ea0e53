"""Sounds to evaluate on: the demo's recordings, and tones and hisses made with numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_core.demo import demo_sources
from audiosep_training.corpus.store import CorpusWriter, quantise

RATE = 32_000


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write (channels, frames) or (frames,) as a 32-bit float file; folders are made."""

    def write(path: Path, audio: np.ndarray, rate: int = RATE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio.T, rate, subtype="FLOAT")
        return path

    return write


@pytest.fixture
def sound() -> Callable[..., np.ndarray]:
    """A sound of its own for every number: a tone in a little hiss, (frames,) float32."""

    def sound(number: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
        rng = np.random.default_rng(number)
        time = np.arange(int(seconds * rate)) / rate
        tone = 0.2 * np.sin(2 * np.pi * (200 + 90 * number) * time)
        return (tone + 0.01 * rng.standard_normal(len(time))).astype(np.float32)

    return sound


@pytest.fixture(scope="session")
def voices() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Something like a voice at a rate, and the same in noise."""
    return _voice


@pytest.fixture(scope="session")
def speech() -> tuple[np.ndarray, np.ndarray]:
    """The voice at 16 kHz."""
    return _voice(16_000)


def _voice(rate: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    time = np.arange(2 * rate) / rate
    partials = (
        np.sin(2 * np.pi * 140 * h * time + 3 * h * np.sin(5 * time)) / h for h in range(1, 12)
    )
    clean = 0.1 * sum(partials) * (1 + np.sin(9 * time)) + 0.002 * rng.standard_normal(2 * rate)
    clean = clean.astype(np.float32)
    return clean, (clean + 0.03 * rng.standard_normal(2 * rate)).astype(np.float32)


@pytest.fixture
def demo_stems(tmp_path: Path, write: Callable[..., Path]) -> Path:
    """A folder of stems: the demo's mixture and its two sources, named by their queries."""
    sources, rate = demo_sources()
    folder = tmp_path / "stems"
    write(folder / "demo" / "mixture.wav", np.sum(list(sources.values()), axis=0), rate)
    for query, source in sources.items():
        write(folder / "demo" / f"{query.replace(' ', '-')}.wav", source, rate)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored corpus: speech that is voices, rain that is hiss, piano that is tones."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    time = np.arange(80_000) / RATE
    with CorpusWriter(folder) as writer:
        for number in range(4):
            sounds = {
                ("speech", "speech"): _voice(40_000)[0] * (0.5 + 0.1 * number),
                ("rain", "sound events"): 0.1 * rng.standard_normal(80_000),
                ("laughter", "sound events"): 0.1 * rng.standard_normal(80_000),
                ("piano", "instruments"): 0.2 * np.sin(1000 * (number + 1) * time),
            }
            for (label, domain), audio in sounds.items():
                writer.add(
                    quantise(audio.astype(np.float32)),
                    package="made-up",
                    path=f"{label}{number}.wav",
                    label=label,
                    domain=domain,
                    split="test",
                    licence="CC0-1.0",
                )
    return folder
