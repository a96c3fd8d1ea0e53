"""Who may import whom: lower layers know nothing of higher ones, the runtime nothing of PyTorch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "audiosep_core": {"audiosep_core"},
    "export": {"audiosep_core", "export"},
    "plugin_bridge": {"audiosep_core", "plugin_bridge"},
    "training": {"audiosep_core", "export", "training"},
}
WITH_TORCH = {"audiosep_core/network.py", "audiosep_core/checkpoint.py"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("package", ALLOWED)
def test_import_directions(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        place = path.relative_to(ROOT).as_posix()
        roots = {name.partition(".")[0] for name in imports(path)}
        assert roots & set(ALLOWED) <= ALLOWED[package], place
        assert not any(name.startswith("audiosep_core.network") for name in imports(path)) or (
            package in ("export", "training") or place in WITH_TORCH
        ), place
        if package in ("audiosep_core", "plugin_bridge") and place not in WITH_TORCH:
            assert not roots & {"torch", "onnx", "transformers", "laion_clap"}, place
