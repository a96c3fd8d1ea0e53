"""``audiosep bench steps``: the proof of CUDA, tried on the CPU."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from audiosep_export.bundle_writer import write_bundle
from audiosep_export.commands.bench_steps import half_precision


@pytest.fixture(scope="module")
def bundle(streaming_net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps") / "small"
    return write_bundle(streaming_net, None, folder, licence="MIT", provenance="made by chance")


def test_it_tells_where_nodes_run_and_how_long_steps_take(audiosep, bundle):
    code, out, err = audiosep(
        "bench", "steps", "--model", bundle.folder, "--device", "cpu", "--calls", 5, "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert list(found["nodes_fp32"]) == ["CPUExecutionProvider"]
    assert [run["queries"] for run in found["runs"]] == [1, 4, 16, 64]
    for run in found["runs"]:
        assert 0 < run["p50_ms"] <= run["p99_ms"] <= run["p99.9_ms"]
        # The same query and frames, whatever runs beside them.
        assert run["mask_differs"] < 1e-4 and not run["captured"]
    code, out, _ = audiosep(
        "bench", "steps", "--model", bundle.folder, "--device", "cpu", "--calls", 5
    )
    assert code == 0 and "64 queries" in out


def test_a_model_of_windows_has_no_steps(audiosep, tmp_path):
    import dataclasses

    from audiosep_core.model.config import SeparatorConfig
    from audiosep_core.model.network import build_network

    config = SeparatorConfig(name="small", n_fft=768, hop_length=320, widths=(8,) * 6, bands=3)
    net = build_network(dataclasses.replace(config, condition_size=6)).eval()
    folder = tmp_path / "windows"
    write_bundle(net, None, folder, licence="MIT", provenance="made by chance")
    code, _, err = audiosep("bench", "steps", "--model", folder, "--device", "cpu")
    assert code == 2 and "has no steps" in err


def test_half_precision_is_all_of_it_and_near(bundle, tmp_path):
    graph = bundle.path("separator.onnx")
    half = half_precision(graph, tmp_path / "half.onnx")
    kinds = {tensor.data_type for tensor in onnx.load(half).graph.initializer}
    assert onnx.TensorProto.FLOAT not in kinds and onnx.TensorProto.FLOAT16 in kinds
    masks = []
    for path, dtype in ((graph, np.float32), (half, np.float16)):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        shapes = {value.name: value.shape for value in session.get_inputs()}
        feed = {name: np.zeros((1, *shape[1:]), dtype) for name, shape in shapes.items()
                if name != "magnitude"}  # fmt: skip
        feed["magnitude"] = np.ones((1, 1, 2, shapes["magnitude"][3]), dtype)
        masks.append(session.run(["mask"], feed)[0].astype(np.float32))
    assert np.isfinite(masks[1]).all()
    np.testing.assert_allclose(masks[1], masks[0], atol=0.02)
