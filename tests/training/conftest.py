"""A corpus, lists and a configuration that are small enough to train on in a test."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.config_file import load_config
from training.corpus.store import CorpusWriter, quantise

TINY = """
about = "A network that fits in a test."
seed = 3

[network]
window = 256
hop = 80
widths = [4, 4, 4, 4, 4, 4]
condition_size = 384
magnitude_scale = "log"
projection = 8

[data]
segment_samples = 5119
shortest_samples = 3200
validation_samples = 5119
validation_count = 2
batch = 4
workers = 0

[query]
encoder = "sentence"

[optimiser]
rate = 2e-3
schedule = "linear"
warmup_steps = 2
clip_norm = 1.0
ema = 0.9

[run]
steps = 6
checkpoint_every = 100
validate_every = 0
log_every = 2
accelerator = "cpu"
devices = 1
"""


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file):
    """The configuration with some fields changed: ``tiny("run.steps=3")``."""
    return lambda *overrides: load_config(str(tiny_file), overrides)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Hisses called rain and tones called piano: separable by anyone."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with CorpusWriter(folder) as writer:
        for split in ("train", "test"):
            for number in range(6):
                hiss = (0.1 * rng.standard_normal(40_000)).astype(np.float32)
                tone = 0.2 * np.sin(np.arange(40_000) * rng.uniform(0.02, 0.1)).astype(np.float32)
                for label, domain, audio in (
                    ("rain", "sound events", hiss),
                    ("piano", "instruments", tone),
                ):
                    writer.add(
                        package="made-up",
                        path=f"{label}{number}.wav",
                        label=label,
                        domain=domain,
                        split=split,
                        licence="CC0-1.0",
                        audio=quantise(audio),
                    )
    return folder


@pytest.fixture(scope="session")
def clip_list(tmp_path_factory) -> Path:
    """Sixteen tones of different pitch, each with its own caption, as a JSON list."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number in range(16):
        tone = 0.3 * np.sin(np.arange(8000) * (0.02 + 0.01 * number))
        soundfile.write(folder / f"{number}.wav", tone, 32_000)
        rows.append({"wav": f"{number}.wav", "caption": f"tone number {number}"})
    (folder / "list.json").write_text(json.dumps({"data": rows}))
    return folder / "list.json"


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """A BERT with random weights, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*marks, "tone", "number", *map(str, range(16)), "rain", "##y"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=130,
        initializer_range=0.5,
    )
    import torch

    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(str(folder))
    return folder
