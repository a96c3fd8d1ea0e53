"""The plug-in's three bundles: built, put where hosts look, and tried."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from audiosep_core.atomic import replacing, replacing_folder
from audiosep_core.errors import UsageError

#: Sources of the plug-in.
SOURCE = Path(__file__).resolve().parents[1] / "native" / "plugin"
_PACKAGES = "g++ make dpf-source libgl-dev libx11-dev libxext-dev libxrandr-dev libxcursor-dev"
_CHECK_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class PluginBundle:
    """One format of the plug-in.

    Attributes:
        kind: "VST3", "CLAP" or "LV2".
        name: Of the file or folder.
        folder: Where hosts look, below the user's home.
        binary: The library, inside the bundle; empty where the bundle is the library.
        symbol: What a host asks the library for.
    """

    kind: str
    name: str
    folder: str
    binary: str
    symbol: str

    def location(self, home: Path | None = None) -> Path:
        """Where the bundle is installed for a user."""
        return (home or Path.home()) / self.folder / self.name

    def shared_object(self, bundle: Path) -> Path:
        """The library of a bundle that lies somewhere."""
        return bundle / self.binary if self.binary else bundle


BUNDLES = (
    PluginBundle(
        "VST3",
        "audiosep.vst3",
        ".vst3",
        f"Contents/{os.uname().machine if hasattr(os, 'uname') else 'x86_64'}-linux/audiosep.so",
        "GetPluginFactory",
    ),
    PluginBundle("CLAP", "audiosep.clap", ".clap", "", "clap_entry"),
    PluginBundle("LV2", "audiosep.lv2", ".lv2", "audiosep.so", "lv2_descriptor"),
)


def build_plugin(folder: Path, dpf: Path | None = None) -> Path:
    """Build all formats.

    Args:
        folder: For what comes about in between.
        dpf: DPF's source, if it is not where Debian puts it.

    Returns:
        The folder with the three bundles.

    Raises:
        UsageError: Something is missing here, or the compiler stopped.
    """
    source = dpf or Path("/usr/share/dpf")
    missing = [name for name in ("g++", "make") if shutil.which(name) is None]
    if not (source / "Makefile.plugins.mk").is_file():
        missing.append("dpf-source")
    if missing:
        raise UsageError(
            f"the plug-in is built here and needs {', '.join(missing)}; on Debian and Ubuntu: "
            f"sudo apt install {_PACKAGES}"
        )
    command = ["make", "-s", "-C", str(SOURCE), f"BUILD={folder}", f"DPF={source}"]
    command.append(f"PYTHON={sys.executable}")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise UsageError(f"the plug-in cannot be built; the compiler says:\n{last}")
    return folder / "bin"


def install(home: Path | None = None, dpf: Path | None = None) -> Iterator[Path]:
    """Build the plug-in and put it into the user's folders; each bundle is replaced as a whole.

    Yields:
        What was written: the bundles, and the file that tells them what starts a server.

    Raises:
        UsageError: It cannot be built, or not be written.
    """
    with tempfile.TemporaryDirectory(prefix="audiosep-plugin-") as folder:
        built = build_plugin(Path(folder), dpf)
        for bundle in BUNDLES:
            _replace(built / bundle.name, bundle.location(home))
            yield bundle.location(home)
    yield tell_program(home)


def tell_program(home: Path | None = None) -> Path:
    """Write the file that tells plug-ins which program to start where no server runs."""
    given = None if home else os.environ.get("XDG_CONFIG_HOME")
    folder = Path(given) if given else (home or Path.home()) / ".config"
    path = folder / "audiosep" / "program.txt"
    beside = Path(sys.executable).with_name("audiosep")
    found = str(beside) if beside.is_file() else shutil.which("audiosep")
    if found is None:
        raise UsageError("the command 'audiosep' is not on the PATH; install the package with pip")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{Path(found).absolute()}\n", encoding="utf-8")
    return path


def check_bundles(home: Path | None = None) -> Iterator[tuple[PluginBundle, str]]:
    """Load each installed bundle, in a process of its own.

    Yields:
        A bundle, and what is wrong with it; an empty text if nothing is.
    """
    for bundle in BUNDLES:
        library = bundle.shared_object(bundle.location(home))
        if not library.is_file():
            yield bundle, f"{library} is not there; run 'audiosep plugin install'"
            continue
        code = "import ctypes, sys; getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])"
        command = [sys.executable, "-c", code, str(library), bundle.symbol]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            yield bundle, f"{library} is not loaded within {_CHECK_SECONDS} s"
            continue
        last = done.stderr.strip().splitlines()[-1:] or [f"it ends with {done.returncode}"]
        yield bundle, last[0] if done.returncode else ""


def _replace(source: Path, target: Path) -> None:
    """Put a file or a folder in the place of another, which stays where that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        with replacing_folder(target) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        with replacing(target) as file:
            shutil.copy2(source, file)
