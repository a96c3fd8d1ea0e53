"""int8: calibrated on sounds, held to what it loses, refused with the figure."""

import copy
import json
import re

import numpy as np
import onnx
import pytest
import soundfile
import torch

from audiosep_core.model.bundle import Bundle
from audiosep_core.model.installed import packaged_folder
from audiosep_core.model.network import build_network
from audiosep_core.query.text_encoder import TextEncoder
from audiosep_export import quantise
from audiosep_export.evidence.sounds import labelled_sounds, mixtures
from audiosep_export.evidence.verify import ExportError, verify_separator
from audiosep_export.graphs.separator_graph import separator_model
from audiosep_export.quantise import write_int8


@pytest.fixture(scope="module")
def encoder():
    bundle = Bundle.open(packaged_folder("mini"))
    return TextEncoder(bundle.path("text_encoder.onnx"), bundle.path("tokenizer.json"))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_network("mini-windowed").eval()


@pytest.fixture(scope="module")
def sounds():
    every = labelled_sounds(None, 32_000)
    return {query: every[query][:64_000] for query in ("hand drums", "plucked chords")}


def test_the_inner_convolutions_are_rounded(net, encoder, sounds, tmp_path):
    path = tmp_path / "separator.onnx"
    evidence = write_int8(net, path, encoder, sounds)
    assert [file.name for file in tmp_path.iterdir()] == ["separator.onnx"]
    losses = [case["float32_sdr_db"] - case["int8_sdr_db"] for case in evidence["cases"]]
    assert evidence["sdr_loss_db"] == pytest.approx(np.mean(np.clip(losses, 0, None)))
    assert evidence["sdr_loss_db"] < evidence["max_sdr_loss_db"] == 0.2
    assert evidence["times_as_fast_as_float32"] > 0
    graph = onnx.load(path).graph
    rounded = [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT8 and t.dims]
    kernels = {re.sub(r"\.weight.*", "", name) for name in rounded if len(name) > 20}
    assert len(kernels) == 22
    assert not any(name.startswith(("encoder_block1.", "decoder_block6.")) for name in kernels)
    report = verify_separator(net, path, "int8")
    assert len(report["cases"]) == 18
    json.dumps(report, allow_nan=False)


def test_what_loses_too_much_is_refused_with_the_figure(
    net, encoder, sounds, tmp_path, monkeypatch
):
    """A network that lets everything through, and a rounding of it that turns the phase over."""
    clear = copy.deepcopy(net)
    clear.base.after_conv.weight.data.zero_()
    clear.base.after_conv.bias.data = torch.tensor([5.0, 5.0, 0.0]).repeat_interleave(3)

    def spoil(model, path, feeds):
        assert len(feeds) == 2
        broken = copy.deepcopy(clear)
        broken.base.after_conv.bias.data = torch.tensor([5.0, -5.0, 0.0]).repeat_interleave(3)
        onnx.save(separator_model(broken), path)

    monkeypatch.setattr(quantise, "_quantise", spoil)
    # The error grows from the other sound to it and twice the target: by 7 dB at equal levels.
    with pytest.raises(ExportError, match=r"loses [67]\.\d\d dB of SDR in the mean of 2 mixtures"):
        write_int8(clear, tmp_path / "separator.onnx", encoder, sounds)


def test_sounds_of_ones_own(tmp_path):
    for name, rate in (("dog barking", 44_100), ("rain", 16_000), ("wind", 32_000)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).random((rate, 2)), rate)
    (tmp_path / "notes.txt").write_text("no sound")
    sounds = labelled_sounds(tmp_path, 32_000)
    assert list(sounds) == ["dog barking", "rain", "wind"]
    for sound in sounds.values():
        assert abs(len(sound) - 32_000) <= 1
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(0.1)
    cases = mixtures(sounds)
    assert [query for query, _, _ in cases] == [
        *("dog barking", "rain"),
        *("rain", "wind"),
        *("wind", "dog barking"),
    ]
    for query, target, mixture in cases:
        np.testing.assert_array_equal(target, sounds[query][: len(target)])
        assert target.shape == mixture.shape


def test_int8_by_command(audiosep, tmp_path, net):
    torch.save({"state_dict": net.state_dict(), "config": net.config.to_dict()}, "net.pt")
    soundfile.write("rain.wav", np.zeros(1000), 32_000)
    code, _, err = audiosep("export", "net.pt", "-o", "out", "--precision", "int8", "--sounds", ".")
    assert code == 2
    assert "holds 1 sound files; give a folder with at least two" in err
    assert not (tmp_path / "out").exists()
