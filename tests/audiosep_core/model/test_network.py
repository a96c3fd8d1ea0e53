"""The network computes what the released code computes, and loads what it saved."""

import zlib

import numpy as np
import pytest
import torch

from audiosep_core.model.checkpoint import (
    CheckpointError,
    load_network,
    load_weights,
    network_weights,
)
from audiosep_core.model.config import SeparatorConfig, get_config
from audiosep_core.model.network import build_network, fold_bands, unfold_bands

SMALL = SeparatorConfig(
    name="small", n_fft=256, hop_length=64, widths=(4, 4, 6, 6, 8, 8), condition_size=16
)


def reference_weights(keys: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    """Fill a state dict by the recipe that the reference values were computed with."""
    weights = {}
    for key in sorted(keys):
        shape = tuple(keys[key])
        if ".stft." in key or ".istft." in key:
            continue
        rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
        if key.endswith("num_batches_tracked"):
            values = np.zeros(shape, np.int64)
        elif key.endswith("running_mean"):
            values = rng.normal(0, 0.1, shape)
        elif key.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1 and ".bn" in key and key.endswith("weight"):
            values = rng.uniform(0.8, 1.2, shape)
        elif len(shape) == 1:
            values = rng.normal(0, 0.1, shape)
        else:
            values = rng.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
        dtype = torch.int64 if values.dtype == np.int64 else torch.float32
        weights[key] = torch.as_tensor(values, dtype=dtype)
    return weights


def test_released_network_equals_reference(reference_keys, reference_forward):
    net = build_network("audiosep-base").eval()
    net.load_state_dict({**net.state_dict(), **reference_weights(reference_keys, 42)})
    with torch.no_grad():
        waveform = net(
            torch.from_numpy(reference_forward["mixture"]),
            torch.from_numpy(reference_forward["condition"]),
        )
    assert waveform.shape == reference_forward["waveform"].shape
    assert np.abs(waveform.numpy() - reference_forward["waveform"]).max() <= 1e-5


def test_state_dict_has_the_released_names_and_shapes(reference_keys):
    state = build_network("audiosep-base").state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == reference_keys


def test_released_network_has_26_million_weights():
    net = build_network("audiosep-base")
    assert round(sum(weight.numel() for weight in net.parameters()) / 1e6, 1) == 26.4


def test_fourier_kernels_are_a_transform():
    state = build_network(SMALL).state_dict()
    frame = torch.randn(256)
    spectrum = torch.fft.rfft(frame * torch.hann_window(256))
    real = state["base.stft.conv_real.weight"][:, 0] @ frame
    imag = state["base.stft.conv_imag.weight"][:, 0] @ frame
    assert torch.allclose(torch.complex(real, imag), spectrum, atol=1e-4)


@pytest.mark.parametrize("name", ["audiosep-paper", "mini-windowed"])
def test_other_configurations_run(name):
    net = build_network(name).eval()
    mixture = torch.randn(2, 1, 20_000) * 0.1
    with torch.no_grad():
        waveform = net(mixture, torch.randn(2, net.config.condition_size))
    assert waveform.shape == mixture.shape
    assert torch.isfinite(waveform).all()


def test_band_folding_is_lossless():
    x = torch.randn(2, 3, 5, 12)
    assert torch.equal(unfold_bands(fold_bands(x, 4), 4), x)
    assert torch.equal(fold_bands(x, 4)[0, :4, 0, 0], x[0, 0, 0, :4])


@pytest.mark.parametrize(
    "prefix, wrap",
    [("ss_model.", True), ("", True), ("", False)],
)
def test_checkpoint_layouts_load(tmp_path, prefix, wrap):
    torch.manual_seed(1)
    saved = build_network(SMALL).eval()
    state = {prefix + name: value for name, value in saved.state_dict().items()}
    state["query_encoder.model.text_branch.embeddings.weight"] = torch.zeros(3)
    path = tmp_path / "checkpoint.ckpt"
    torch.save({"state_dict": state, "epoch": 1} if wrap else state, path)
    loaded = load_network(path, SMALL)
    mixture, condition = torch.randn(1, 1, 5000), torch.randn(1, 16)
    with torch.no_grad():
        assert torch.equal(loaded(mixture, condition), saved(mixture, condition))


def test_checkpoint_problems_name_the_weight():
    net = build_network(SMALL)
    state = net.state_dict()
    missing = {name: value for name, value in state.items() if name != "base.pre_conv.weight"}
    with pytest.raises(CheckpointError, match=r"base\.pre_conv\.weight is missing"):
        load_weights(net, missing)
    with pytest.raises(CheckpointError, match=r"base\.pre_conv\.bias has shape \(7,\)"):
        load_weights(net, {**state, "base.pre_conv.bias": torch.zeros(7)})
    with pytest.raises(CheckpointError, match=r"base\.bn0\.bias holds NaN"):
        load_weights(net, {**state, "base.bn0.bias": torch.full((129,), torch.nan)})
    with pytest.raises(CheckpointError, match=r"base\.surprise is not part"):
        load_weights(net, {**state, "base.surprise": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"base\.stft\.conv_real\.weight has shape"):
        load_weights(net, {**state, "base.stft.conv_real.weight": torch.zeros(5, 1, 8)})


def test_unreadable_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_network(tmp_path / "none.ckpt")
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_network(broken)
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_network(tmp_path / "broken.safetensors")


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_not_run(tmp_path, capsys):
    path = tmp_path / "hostile.ckpt"
    torch.save({"state_dict": {}, "payload": Hostile()}, path)
    with pytest.raises(CheckpointError, match="could run code") as caught:
        load_network(path)
    # PyTorch's own text advises to load the file unsafely.
    assert "weights_only" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_lightning_prefix_selects_the_network():
    content = {"state_dict": {"ss_model.a": torch.ones(1), "query_encoder.b": torch.ones(1)}}
    assert list(network_weights(content)) == ["a"]


def test_configurations():
    assert get_config("audiosep-base") == SeparatorConfig()
    assert SeparatorConfig.from_dict(SMALL.to_dict()) == SMALL
    former = {"window": 1024, "hop": 160}
    assert SeparatorConfig.from_dict(former) == SeparatorConfig(n_fft=1024, hop_length=160)
    with pytest.raises(ValueError, match="no network is called 'nope'"):
        get_config("nope")
    with pytest.raises(ValueError, match="n_fft must be a multiple"):
        SeparatorConfig(n_fft=1000)
    with pytest.raises(ValueError, match="colour is no known field"):
        SeparatorConfig.from_dict({"colour": "red"})
