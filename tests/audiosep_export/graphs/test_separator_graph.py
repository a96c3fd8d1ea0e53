"""The exported graph computes what PyTorch computes, at every length and batch, and is refused
where it does not."""

import copy
import warnings
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.network import build_network
from audiosep_core.runtime.device import CPU, CUDA, usable_providers
from audiosep_export.evidence.verify import ExportError, verify_separator, verify_waveform
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET
from audiosep_export.graphs.separator_graph import separator_model
from audiosep_export.graphs.waveform import waveform_model

SMALL = SeparatorConfig(
    name="small", n_fft=256, hop_length=64, widths=(16, 16, 16, 32, 32, 32), condition_size=16
)
BANDED = SeparatorConfig(
    name="banded",
    n_fft=768,
    hop_length=256,
    widths=(16, 16, 16, 16, 16, 16),
    condition_size=24,
    magnitude_scale="log",
    bands=3,
    projection=16,
)
FORBIDDEN = {"Col2Im", "STFT", "DFT", "If", "Loop", "Scan"}


def network(config, seed=0):
    """Random weights with batch norms as a training leaves them."""
    torch.manual_seed(seed)
    net = build_network(config).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    for linear in net.film.children():
        linear.bias.data.normal_(0, 0.1)
    return net


def session(model, **options):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])


def run(running, magnitude, condition):
    feed = {"magnitude": magnitude.numpy(), "condition": condition.numpy()}
    return running.run(["mask"], feed)[0]


@pytest.mark.parametrize("config", [SMALL, BANDED], ids=lambda config: config.name)
def test_any_batch_and_length_equal_pytorch(config):
    net = network(config)
    running = session(separator_model(net))
    for batch, frames in [(1, 32), (1, 96), (2, 64), (3, 32), (5, 224)]:
        magnitude = torch.rand(batch, 1, frames, config.bins)
        magnitude[:, :, frames - 7 :] = -1
        condition = torch.randn(batch, config.condition_size)
        with torch.no_grad():
            expected = net.mask(magnitude, condition).numpy()
        found = run(running, magnitude, condition)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-3
        assert np.abs(found[:, 0] - expected[:, 0]).max() <= 1e-5


def test_a_batch_norm_scale_of_zero_survives_folding():
    net = network(SMALL)
    norm = net.base.encoder_block1.conv_block1.bn2
    norm.weight.data[:4] = 0
    norm.weight.data[4] = -1e-30
    magnitude, condition = torch.rand(1, 1, 32, SMALL.bins), torch.randn(1, 16)
    with torch.no_grad():
        expected = net.mask(magnitude, condition).numpy()
    found = run(session(separator_model(net)), magnitude, condition)
    assert np.abs(found[:, 0] - expected[:, 0]).max() <= 1e-5


@pytest.mark.parametrize(
    "model",
    [
        separator_model(network(SMALL)),
        separator_model(network(BANDED), "fp16"),
        waveform_model(network(SMALL), 5000),
    ],
    ids=["separator", "fp16", "waveform"],
)
def test_graphs_are_portable(model):
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (OPSET, IR_VERSION)
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    values = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.elem_type for value in values} == {onnx.TensorProto.FLOAT}


def test_features_stay_in_blocks_of_channels(tmp_path):
    """One conversion in and one for the condition; each upsampling row costs one more."""
    optimised = tmp_path / "optimised.onnx"
    session(separator_model(network(SMALL)), optimized_model_filepath=str(optimised))
    nodes = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    if not nodes["ReorderInput"]:
        pytest.skip("this processor has no blocked layout")
    assert nodes["ReorderInput"] == 6 + 1
    assert nodes["ReorderOutput"] == 5 * 2 + 1 + 1
    assert nodes["LeakyRelu"] == nodes["BatchNormalization"] == nodes["ConvTranspose"] == 0


@pytest.mark.parametrize("config, precision", [(SMALL, "fp32"), (BANDED, "fp32"), (BANDED, "fp16")])
def test_exports_pass_verification(config, precision, tmp_path):
    net, path = network(config), tmp_path / "separator.onnx"
    onnx.save(separator_model(net, precision), path)
    evidence = verify_separator(net, path, precision)
    cases = evidence["cases"]
    assert len({case["signal"] for case in cases}) == 6
    assert len({case["seconds"] for case in cases}) == 3
    assert len({case["batch"] for case in cases}) == 3
    assert evidence["worst_max_abs_error"] == max(case["max_abs_error"] for case in cases)
    assert evidence["bytes"] == path.stat().st_size
    (ran,) = evidence["placements"][CPU].values()
    assert sum(ran.values()) > 50


def test_placements_tell_what_ran_for_every_provider(tmp_path, monkeypatch):
    """ONNX Runtime runs on the CPU, without a word, what was meant for a provider it lacks."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime may have CUDA")
    net, path = network(SMALL), tmp_path / "separator.onnx"
    onnx.save(separator_model(net), path)
    assert usable_providers(path) == [CPU]
    monkeypatch.setattr(
        "audiosep_export.evidence.verify.usable_providers", lambda graph: [CUDA, CPU]
    )
    monkeypatch.setattr("audiosep_export.evidence.verify._PLAN", ((0.1, 6),))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placements = verify_separator(net, path, "fp32")["placements"]
    assert list(placements) == [CUDA, CPU]
    assert list(placements[CUDA]) == list(placements[CPU]) == [CPU]


def test_half_precision_halves_the_weights():
    net = network(SMALL)
    full, half = (separator_model(net, precision).ByteSize() for precision in ("fp32", "fp16"))
    assert half < 0.65 * full


def test_a_wrong_graph_is_refused_with_the_case(tmp_path):
    net, path = network(SMALL), tmp_path / "separator.onnx"
    other = copy.deepcopy(net)
    other.base.after_conv.bias.data += 0.01
    onnx.save(separator_model(other), path)
    with pytest.raises(ExportError, match=r"'full-scale sine', 0.1 s in a batch of 6, differs"):
        verify_separator(net, path, "fp32")


def test_half_precision_that_overflows_is_refused(tmp_path):
    net, path = network(SMALL), tmp_path / "separator.onnx"
    net.base.pre_conv.weight.data *= 1e6
    onnx.save(separator_model(net, "fp16"), path)
    with pytest.raises(ExportError, match=r"is refused: 'silence', .* differs from PyTorch by"):
        verify_separator(net, path, "fp16")


@pytest.mark.parametrize("config, samples", [(SMALL, 4999), (SMALL, 129), (BANDED, 8000)])
def test_waveform_graph_equals_pytorch(config, samples, tmp_path):
    net, path = network(config), tmp_path / "waveform.onnx"
    onnx.save(waveform_model(net, samples), path)
    evidence = verify_waveform(net, path, samples)
    assert {case["seconds"] for case in evidence["cases"]} == {samples / 32000}
    assert evidence["bounds"] == {"max_abs_error": 1e-4, "or_sdr_db": None}
    noise = next(case for case in evidence["cases"] if case["signal"] == "noise")
    assert noise["max_abs_error"] <= 1e-5


def test_a_waveform_too_short_to_be_reflected():
    with pytest.raises(ValueError, match="more than 128 samples"):
        waveform_model(network(SMALL), 128)


@pytest.mark.slow
def test_released_architecture(tmp_path):
    net, path = network("audiosep-base"), tmp_path / "separator.onnx"
    onnx.save(separator_model(net), path)
    assert verify_separator(net, path, "fp32")["worst_max_abs_error"] <= 1e-4
