"""``audiosep export`` and ``audiosep bench``: files in, a bundle that runs out, or a sentence."""

import dataclasses
import json
import re
import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from audiosep_core import DeviceError, QueryError, Separator
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.network import build_network
from audiosep_core.runtime.session import MaskEstimator
from audiosep_export.commands.bench_network import multiply_accumulates

SMALL = SeparatorConfig(
    name="small", n_fft=768, hop_length=320, widths=(16,) * 6, condition_size=384, bands=3
)


def save(path, config, **changes):
    torch.manual_seed(0)
    state = build_network(config).state_dict()
    torch.save({"state_dict": {**state, **changes}, "config": config.to_dict()}, path)


@pytest.fixture
def bundle(audiosep):
    save("ours.pt", SMALL)
    code, out, err = audiosep("export", "ours.pt", "-o", "out", "--waveform", 0.1, "--json")
    assert code == 0, err
    return json.loads(out)


def test_our_checkpoint_becomes_a_model_that_understands_words(audiosep, bundle, tmp_path):
    assert bundle == json.loads((tmp_path / "out/report.json").read_text())
    assert {"separator", "waveform"} <= set(bundle)
    stems = Separator(tmp_path / "out", device="cpu").separate(
        np.random.default_rng(0).standard_normal(9000).astype(np.float32), 32000, "a new phrase"
    )
    assert np.isfinite(stems["a new phrase"]).all()
    code, out, _ = audiosep("models", "info", "out")
    assert code == 0
    assert "dB from PyTorch in 18 cases" in out
    assert re.search(r"CPUExecutionProvider runs (\d+) of \1 nodes", out)
    assert json.loads(audiosep("models", "info", "out", "--json")[1])["report"] == bundle
    waveform = onnxruntime.InferenceSession("out/waveform.onnx")
    assert waveform.get_inputs()[0].shape == [1, 1, 3200]


def test_a_target_is_kept_unless_told_and_unless_the_export_holds(audiosep, tmp_path):
    save("ours.pt", SMALL)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.json").write_text("an older bundle")
    code, _, err = audiosep("export", "ours.pt", "-o", "out")
    assert code == 2
    assert "give --overwrite" in err
    save("nan.pt", SMALL, **{"base.pre_conv.bias": torch.full((16,), torch.nan)})
    code, _, err = audiosep("export", "nan.pt", "-o", "out", "--overwrite")
    assert code == 1
    assert "base.pre_conv.bias holds NaN" in err
    save("huge.pt", SMALL, **{"base.pre_conv.weight": torch.full((16, 3, 1, 1), 1e6)})
    code, _, err = audiosep("export", "huge.pt", "-o", "out", "--overwrite", "--precision", "fp16")
    assert code == 1
    assert "separator.onnx is refused" in err
    assert (tmp_path / "out/model.json").read_text() == "an older bundle"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out"]


def test_misuse(audiosep):
    save("ours.pt", SMALL)
    assert audiosep("export", "none.pt", "-o", "out")[0] == 1
    code, _, err = audiosep("export", "ours.pt", "-o", "out", "--waveform", 0.001)
    assert code == 2
    assert "longer than 0.012 seconds" in err
    code, _, err = audiosep("export", "ours.pt", "-o", "out", "--text-encoder", ".")
    assert code == 1
    assert "holds no text_encoder.onnx" in err


def test_a_bundle_without_text_encoder_names_what_is_missing(audiosep, tmp_path):
    save("other.pt", dataclasses.replace(SMALL, condition_size=32))
    code, _, err = audiosep("export", "other.pt", "-o", "out")
    assert code == 0
    assert "no text encoder" in err
    bundle = Bundle.open(tmp_path / "out")
    masks = MaskEstimator(bundle, "cpu").masks(
        np.ones((32, 385), np.float32), np.ones((3, 32), np.float32)
    )
    assert masks.shape == (3, 3, 32, 385)
    with pytest.raises(QueryError, match=r"no text_encoder\.onnx.*--text-encoder"):
        Separator(bundle.folder, device="cpu").encoder.embed(["drums"])


def test_cuda_that_cannot_start_falls_back_with_one_warning(monkeypatch):
    """What a GPU wheel does on a machine without a GPU: it lists CUDA, and runs on the CPU."""
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        separator = Separator(device="auto")
    if separator.estimator.provider != "CPUExecutionProvider":
        pytest.skip("CUDA starts here")
    ours = [warning for warning in caught if "could not start CUDA" in str(warning.message)]
    assert len(ours) == len(caught) == 1
    with pytest.raises(DeviceError, match="could not start CUDA"):
        Separator(device="cuda")


@pytest.mark.parametrize("name, frames", [("mini-windowed", 32), ("live", 46)])
def test_bench_network(audiosep, name, frames):
    bench = ("bench", "network", "--config", name, "--seconds", 0.3, "--rounds", 1)
    code, out, err = audiosep(*bench, "--json")
    assert code == 0, err
    result = json.loads(out)
    # Twice the frames of a layer, twice the work: all of it is convolutions, and a recurrence.
    net = build_network(name)
    once, twice = (
        multiply_accumulates(net, torch.ones(1, 1, count, net.config.bins))
        for count in (frames, 2 * frames)
    )
    assert once * 2 == twice
    assert result["gflop"] == pytest.approx(2 * once * 1e-9)
    assert result["ratio"] > 0
    assert audiosep(*bench)[0] == 0
