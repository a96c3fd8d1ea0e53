"""Who may import whom: every folder's docstring says it, in the paragraph "Imports:"."""

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "audiosep_core": ROOT,
    "audiosep_export": ROOT / "export",
    "plugin_bridge": ROOT,
    "audiosep_training": ROOT / "training",
}
#: Every package to those that it may know.
BELOW = {
    "audiosep_core": {"audiosep_core"},
    "audiosep_export": {"audiosep_core", "audiosep_export"},
    "plugin_bridge": {"audiosep_core", "plugin_bridge"},
    "audiosep_training": {"audiosep_core", "audiosep_export", "audiosep_training"},
}
#: What all may import.
OPEN = {
    "audiosep_core.atomic",
    "audiosep_core.errors",
    "audiosep_core.extras",
    "audiosep_core.plain",
}
#: In the core and the bridge, what these folders alone may import.
KEPT_IN = {
    "torch": {"audiosep_core.model"},
    "onnxruntime": {"audiosep_core.runtime", "audiosep_core.query"},
    "pedalboard": {"plugin_bridge.effect", "plugin_bridge.examples", "plugin_bridge.plugin"},
    "matplotlib": {"audiosep_core.files"},
    "onnx": set(),
    "transformers": set(),
    "lightning": set(),
}


def folder_of(module):
    """The path of the folder that a module lies in, or that it is."""
    names = module.split(".")
    path = PACKAGES[names[0]]
    for count, name in enumerate(names):
        if not (path / name / "__init__.py").is_file():
            return ".".join(names[:count])
        path /= name
    return module


def node_of(module):
    """The folder of a module; modules beside the folders of a package stand for themselves."""
    folder = folder_of(module)
    return ".".join(module.split(".")[:2]) if folder in PACKAGES else folder


@cache
def modules():
    found = {}
    for package, root in PACKAGES.items():
        for path in (root / package).rglob("*.py"):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def imports(module):
    """Full names of all that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module}: import from the full name"
            names |= {
                full if (full := f"{node.module}.{alias.name}") in modules() else node.module
                for alias in node.names
            }
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {name.value for name in node.args[:1] if isinstance(name, ast.Constant)}
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


FOLDERS = sorted({folder_of(module) for module in modules()})


@cache
def rule(folder):
    """What the docstring of a folder allows."""
    text = ast.get_docstring(ast.parse(modules()[folder].read_text(encoding="utf-8"))) or ""
    found = re.search(r"^Imports: (.*?)\.$", text, re.M | re.S)
    assert found, f"the docstring of {folder} does not say what it imports"
    return set() if found[1] == "nothing" else set(re.split(r"[;,]\s+", found[1]))


def allowed(name, folder):
    top = name.partition(".")[0]
    if name in OPEN or folder_of_import(name) == folder:
        return True
    if top not in PACKAGES:
        return top in rule(folder)
    # A package's name stands for what is imported from the package itself.
    return name in rule(folder) or any(
        entry.count(".") and name.startswith(f"{entry}.") for entry in rule(folder)
    )


def folder_of_import(name):
    return folder_of(name) if name.partition(".")[0] in PACKAGES else ""


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_what_it_says(folder):
    for module in modules():
        if folder_of(module) == folder:
            for name in imports(module):
                assert allowed(name, folder), f"{module} imports {name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_folder_says_is_so(folder):
    ours = [module for module in modules() if folder_of(module) == folder]
    used = {name for module in ours for name in imports(module)}
    for entry in rule(folder):
        assert any(name == entry or name.startswith(f"{entry}.") for name in used), entry


def test_packages_know_none_above_them():
    for module in modules():
        known = {name.partition(".")[0] for name in imports(module)} & set(PACKAGES)
        assert known <= BELOW[module.partition(".")[0]], module


def test_what_is_kept_in_its_folder():
    for module in modules():
        if module.partition(".")[0] in ("audiosep_core", "plugin_bridge"):
            for name in imports(module):
                folders = KEPT_IN.get(name.partition(".")[0])
                assert folders is None or folder_of(module) in folders, f"{module} imports {name}"


def test_the_arithmetic_of_streams_needs_little():
    others = {name.partition(".")[0] for name in rule("audiosep_core.signal")} - set(PACKAGES)
    assert others <= {"numpy", "scipy", "soxr"}


def test_no_module_imports_itself_by_way_of_others():
    # Imports within functions and those for types alone count as well.
    graph = {
        module: {name for name in imports(module) if name in modules()} for module in modules()
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)


def test_there_are_no_circles():
    graph = {}
    for module in modules():
        node = node_of(module)
        known = {node_of(name) for name in imports(module) if name.partition(".")[0] in PACKAGES}
        graph.setdefault(node, set()).update(known - {node})
    # Raises where there is one.
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)
