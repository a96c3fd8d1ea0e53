"""A streaming network as a bundle: verified, opened, used, and what it is refused."""

import numpy as np
import pytest
import soundfile

from audiosep_core import Separator
from audiosep_core.errors import UsageError
from audiosep_core.model.bundle import PACKAGED
from audiosep_export.bundle_writer import write_bundle
from audiosep_export.evidence.verify import ExportError


@pytest.fixture(scope="module")
def wide_net(streaming_net):
    """The small network, for the embeddings of the packaged text encoder."""
    import dataclasses

    import torch

    from audiosep_core.model.streaming_network import StreamingNetwork

    torch.manual_seed(5)
    return StreamingNetwork(dataclasses.replace(streaming_net.config, condition_size=384)).eval()


@pytest.fixture(scope="module")
def bundle(wide_net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "small"
    return write_bundle(
        wide_net, PACKAGED / "text_encoder", folder, licence="MIT", provenance="made by chance"
    )


def test_report_holds_the_evidence(bundle):
    found = bundle.report()["separator"]
    assert found["worst_max_abs_error"] <= 1e-4
    assert {case["signal"].split(",")[0] for case in found["cases"]} >= {"silence", "noise"}
    assert found["state_bytes"] > 0 and "GRU" in found["operators"]


def test_a_bundle_separates_by_words_at_any_rate(bundle, rng):
    separator = Separator(bundle.folder, "cpu", 1)
    for rate in (44_100, 32_000):
        mixture = rng.normal(size=(2, rate // 2)).astype(np.float32) * 0.1
        stems = separator.separate(mixture, rate, ["a dog", "rain"])
        total = sum(stems[name] for name in stems)
        np.testing.assert_allclose(total, mixture, atol=1e-6)


def test_the_command_takes_it(bundle, audiosep, tmp_path, rng):
    soundfile.write(tmp_path / "in.wav", rng.normal(size=(9000, 2)) * 0.1, 48_000, "FLOAT")
    code, _, err = audiosep("separate", "in.wav", "-q", "rain", "--model", bundle.folder, "-o", "s")
    assert code == 0, err
    assert soundfile.info(tmp_path / "s/in/rain.wav").frames == 9000
    code, out, _ = audiosep("models", "info", bundle.folder)
    assert code == 0 and "any rate" in out and "75 frames a second" in out


@pytest.mark.parametrize("asked", [{"precision": "fp16"}, {"waveform_samples": 32_000}])
def test_what_it_has_not_is_refused(wide_net, tmp_path, asked):
    with pytest.raises(UsageError, match="leave out"):
        write_bundle(wide_net, None, tmp_path / "b", licence="MIT", provenance="", **asked)
    assert not (tmp_path / "b").exists()


def test_a_graph_that_differs_is_refused(wide_net, tmp_path, monkeypatch):
    import audiosep_export.graphs.streaming_graph as streaming_graph

    monkeypatch.setattr(streaming_graph, "LEAK", 0.02)
    with pytest.raises(ExportError, match="differs from PyTorch"):
        write_bundle(wide_net, None, tmp_path / "b", licence="MIT", provenance="")
    assert not (tmp_path / "b").exists()
