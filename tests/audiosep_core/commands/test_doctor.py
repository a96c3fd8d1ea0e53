"""``audiosep doctor``: on this installation, and on others that are made up."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Callable
from importlib import metadata

import click.testing
import pytest

pytest.importorskip("onnxruntime")

import onnxruntime

from audiosep_core.commands import installation
from audiosep_core.commands.doctor import command
from audiosep_core.commands.installation import EXTRAS, examine
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.installed import packaged_folder
from audiosep_core.runtime import cuda
from audiosep_core.runtime.cuda import CudaState, libraries, probe_cuda
from audiosep_core.runtime.health import Finding, check_cuda, check_runtime
from audiosep_core.runtime.placement import example_feed, node_placement

Run = Callable[..., tuple[int, str, str]]


def test_this_installation_in_columns(audiosep: Run) -> None:
    code, out, _ = audiosep("doctor")
    levels = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert code == (1 if "problem" in levels else 0)
    assert "\x1b" not in out
    for subject in ("Python", "soundfile", "ONNX Runtime", "CUDA", "node placement", "self test"):
        (line,) = [line for line in out.splitlines() if line[8:].startswith(subject)]
        assert line[24] != " "
        assert line[23] == " "


def test_this_installation_as_json(audiosep: Run) -> None:
    code, out, _ = audiosep("doctor", "--json")
    report = json.loads(out)
    findings = {finding["subject"]: finding for finding in report["findings"]}
    assert report["healthy"] == (code == 0)
    assert findings["self test"]["values"]["null"] <= 1e-6
    (placed,) = findings["node placement"]["values"].values()
    assert sum(placed.values()) > 100
    assert findings["ONNX Runtime"]["values"]["version"] == onnxruntime.__version__


def test_every_extra_is_told_of(audiosep: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = set(metadata.metadata("audiosep").get_all("Provides-Extra") or [])
    assert set(EXTRAS) == declared - {"cpu", "gpu", "dev"}
    version = installation.version_of
    absent = {"matplotlib", "onnx"}
    monkeypatch.setattr(
        installation, "version_of", lambda name: "" if name in absent else version(name)
    )
    _, out, _ = audiosep("doctor")
    told = {line[8:24].strip(): line[24:] for line in out.splitlines()}
    assert told["[plots]"] == "pictures: pip install 'audiosep[plots]' adds matplotlib"
    assert told["[export]"].endswith("pip install 'audiosep[export]' adds onnx")
    # One extra may hold another.
    assert told["[train]"].endswith("adds matplotlib")
    assert told["[pedalboard]"] == f"SeparationBoard: pedalboard {version('pedalboard')}"


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("CUDA", "problem", "broken", "repair it")
    monkeypatch.setattr("audiosep_core.commands.doctor.examine", lambda model: [finding])
    runner = click.testing.CliRunner()
    plain, coloured = runner.invoke(command), runner.invoke(command, color=True)
    assert plain.exit_code == 1
    assert plain.output == (
        "problem CUDA            broken\n                        -> repair it\n1 to repair\n"
    )
    assert "\x1b[31mproblem" in coloured.output


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from audiosep_core.commands.installation import examine; list(examine()); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_damaged_model_is_a_problem(audiosep: Run, tmp_path) -> None:
    (tmp_path / "model.json").write_text("{")
    code, out, _ = audiosep("doctor", "--model", str(tmp_path))
    assert code == 1
    assert "cannot be read" in out
    assert out.endswith("1 to repair\n")


def test_placement_counts_every_node(tmp_path) -> None:
    graph = Bundle.open(packaged_folder("mini")).path("separator.onnx")
    feed = example_feed(graph, 4)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    nodes = pytest.importorskip("onnx").load(tmp_path / "optimised.onnx").graph.node
    assert node_placement(graph, ["CPUExecutionProvider"], feed) == {
        "CPUExecutionProvider": Counter(node.op_type for node in nodes)
    }


def test_a_self_test_that_does_not_null_is_a_problem() -> None:
    class Broken:
        def separate(self, audio, sample_rate, queries):
            return {"speech": audio * 0.5, "residual": audio * 0.5 + 1e-4}

    finding = installation._separate(Broken())
    assert finding.level == "problem"
    assert finding.remedy


def test_a_failing_run_is_a_problem_and_the_report_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(onnxruntime.InferenceSession, "end_profiling", fail)
    findings = {finding.subject: finding for finding in examine()}
    assert findings["node placement"].level == "problem"
    assert "no kernel image" in findings["node placement"].detail
    assert findings["self test"].level == "ok"


GPU = CudaState(driver=(13, 0), devices=1)


def test_two_runtimes_over_each_other() -> None:
    both = {"onnxruntime": "1.31.0", "onnxruntime-gpu": "1.31.0"}
    for state, extra in ((CudaState(), "cpu"), (GPU, "gpu")):
        finding, _ = check_runtime(both, state)
        assert finding.level == "problem"
        assert finding.remedy == (
            f'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "audiosep[{extra}]"'
        )


def test_what_another_runtime_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "package_name", "onnxruntime-gpu")
    finding, _ = check_runtime({"onnxruntime": "1.31.0"}, CudaState())
    assert finding.level == "problem"
    assert "holds the files of onnxruntime-gpu" in finding.detail
    assert finding.remedy == 'pip uninstall -y onnxruntime && pip install "audiosep[cpu]"'


@pytest.mark.parametrize("module", [None, types.ModuleType("onnxruntime")])
def test_no_usable_runtime(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    finding, built_for = check_runtime({}, CudaState())
    assert (finding.level, finding.remedy) == ("problem", 'pip install "audiosep[cpu]"')
    assert built_for is None
    finding, _ = check_runtime({"onnxruntime": "1.31.0"}, CudaState())
    assert finding.remedy == 'pip uninstall -y onnxruntime && pip install "audiosep[cpu]"'


@pytest.mark.parametrize(
    ("told", "expected"), [({"cuda_version": "13.0"}, 13), ({}, 12), ({"cuda_version": ""}, 0)]
)
def test_what_a_gpu_build_is_built_for(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: int
) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    module = types.SimpleNamespace(
        __version__="1.31.0", get_available_providers=lambda: providers, **told
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    finding, built_for = check_runtime({"onnxruntime-gpu": "1.31.0"}, GPU)
    assert (finding.level, built_for) == ("ok", expected)


CASES = {
    "cpu only": (CudaState(), "onnxruntime", "ok", ""),
    "gpu unused": (GPU, "onnxruntime", "note", 'pip install "audiosep[gpu]"'),
    "healthy": (
        CudaState(13, (13, 1), 1, "13.0", "9.17.1"),
        "onnxruntime-gpu",
        "ok",
        "",
    ),
    "newer driver": (CudaState(12, (13, 0), 1, "12.9", "9.2.0"), "onnxruntime-gpu", "ok", ""),
    "no driver": (CudaState(13), "onnxruntime-gpu", "problem", 'pip install "audiosep[cpu]"'),
    "no device": (
        CudaState(13, (13, 0), 0),
        "onnxruntime-gpu",
        "problem",
        'pip install "audiosep[cpu]"',
    ),
    "old driver": (
        CudaState(13, (12, 4), 1),
        "onnxruntime-gpu",
        "problem",
        'pip install "onnxruntime-gpu[cuda,cudnn]>=1.19,<1.27", or install an NVIDIA driver from '
        "580 on",
    ),
    "very old driver": (
        CudaState(13, (11, 4), 1),
        "onnxruntime-gpu",
        "problem",
        "install an NVIDIA driver from 580 on",
    ),
    "no cudnn": (
        CudaState(13, (13, 0), 1, "13.0", "", ("libcudnn.so.9",)),
        "onnxruntime-gpu",
        "problem",
        'pip install "onnxruntime-gpu[cuda,cudnn]',
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cuda_and_the_command_that_repairs_it(name: str) -> None:
    state, runtime, level, remedy = CASES[name]
    (finding,) = check_cuda(state, [runtime])
    assert finding.level == level
    assert remedy in finding.remedy
    assert bool(finding.remedy) == bool(remedy)
    for library in state.missing:
        assert library in finding.detail


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux libraries")
def test_the_libraries_of_each_cuda() -> None:
    assert libraries(13) == [
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcublas.so.13",
        "libcufft.so.12",
        "libcurand.so.10",
        "libcudnn.so.9",
    ]
    assert "libcufft.so.11" in libraries(12)


class FakeLibrary:
    """libcuda, libcudart and libcudnn in one."""

    def __init__(self) -> None:
        self.cudnnGetVersion = types.SimpleNamespace()

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDriverGetVersion(self, pointer: object) -> int:  # noqa: N802
        return self._write(pointer, 13010)

    def cuDeviceGetCount(self, pointer: object) -> int:  # noqa: N802
        return self._write(pointer, 2)

    def cudaRuntimeGetVersion(self, pointer: object) -> int:  # noqa: N802
        return self._write(pointer, 13000)

    def _write(self, pointer: object, value: int) -> int:
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = value
        return 0


def test_versions_are_read_from_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cudnn:
        def __call__(self) -> int:
            return 91701

    fake = FakeLibrary()
    fake.cudnnGetVersion = Cudnn()
    monkeypatch.setattr(cuda, "_load", lambda name: fake)
    assert probe_cuda(13) == CudaState(13, (13, 1), 2, "13.0", "9.17.1")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_load", lambda name: None)
    assert probe_cuda(13) == CudaState(13, missing=tuple(libraries(13)))
    assert probe_cuda(0) == CudaState()
