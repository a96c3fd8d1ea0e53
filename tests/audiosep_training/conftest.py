"""A corpus, lists and a configuration small enough for a test; values of released codes."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiosep_training.config.files import load_config
from audiosep_training.corpus.store import CorpusWriter, quantise

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "systems"
#: Computed, not learned; what a network makes of them itself stays.
_TABLES = (".stft.", ".istft.", ".melW", "conv_real", "conv_imag", "relative_position_index")

TINY = """
about = "A network that fits in a test."
seed = 3

[network]
n_fft = 256
hop_length = 80
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


STREAMING = """
about = "A streaming network that fits in a test."
seed = 3

[network]
preset = "live"
widths = [4, 6, 6, 8]
recurrent = 8
projection = 8

[data]
segment_samples = 13440
validation_samples = 13440
validation_count = 2
batch = 4
workers = 0

[query]
encoder = "sentence"

[optimiser]
loss = "log-spectral"
rate = 3e-3
betas = [0.9, 0.98]
weight_decay = 0.01
amsgrad = false
schedule = "cosine"
warmup_steps = 2
decay_steps = 3
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
def streaming_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "streaming.toml"
    path.write_text(STREAMING)
    return path


@pytest.fixture(scope="session")
def streaming(streaming_file):
    """As ``tiny``, of the streaming form."""
    return lambda *overrides: load_config(str(streaming_file), overrides)


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
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(str(folder))
    return folder


class Reference:
    """Arrays by name; of some every n-th value is kept, under the name with @n."""

    def __init__(self, name):
        with np.load(REFERENCE / f"{name}.npz") as arrays:
            self.arrays = dict(arrays)

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def error(self, name, actual):
        """Largest difference over the largest value."""
        actual = np.asarray(torch.as_tensor(actual).detach(), np.float64)
        if name in self.arrays:
            expected = self.arrays[name]
            assert actual.size == expected.size
            return _error(actual.reshape(expected.shape), expected)
        full = next(key for key in self.arrays if key.startswith(f"{name}@"))
        return _error(actual.ravel()[:: int(full.partition("@")[2])], self.arrays[full])


def _error(actual, expected):
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max()


def _values(key, shape, seed=42, slopes=("no slopes",)):
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    if key.endswith("running_mean"):
        return rng.normal(0, 0.1, shape)
    if key.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith(slopes):
        return rng.uniform(0, 0.4, shape)
    if len(shape) == 1 and key.endswith("weight"):
        return rng.uniform(0.8, 1.2, shape)
    if len(shape) < 2:
        return rng.normal(0, 0.1, shape)
    return rng.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)


@pytest.fixture(scope="session")
def reference():
    """``reference("clipsep")`` are a system's values."""
    return Reference


@pytest.fixture(scope="session")
def names():
    """``names("clipsep-keys")`` are names and shapes in a released state dict."""
    return lambda name: json.loads((REFERENCE / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def filled():
    """Gives a network the weights that the values were computed with, and evaluation mode."""

    def fill(net, seed=42, slopes=("no slopes",)):
        state = net.state_dict()
        for key, value in state.items():
            if not any(table in key for table in _TABLES):
                made = np.asarray(_values(key, tuple(value.shape), seed, slopes))
                state[key] = torch.from_numpy(made).to(value.dtype)
        net.load_state_dict(state)
        return net.eval()

    return fill


@pytest.fixture(scope="session")
def fill_values():
    """Values of one weight, by its name and shape."""
    return _values


@pytest.fixture(scope="session")
def shapes():
    """Names and shapes of a network's state dict."""
    return lambda net: {name: list(value.shape) for name, value in net.state_dict().items()}
