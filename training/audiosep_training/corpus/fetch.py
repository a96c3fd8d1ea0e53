"""Downloads the Debian packages of the corpus and extracts them, without installing anything."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from audiosep_core.atomic import replacing_folder


def fetch_packages(
    packages: Iterable[str], folder: Path, report: Callable[[str], None] = lambda line: None
) -> None:
    """Download packages to ``folder/deb`` and extract each into ``folder/x/<package>``.

    What is there already is kept, so an interrupted run goes on where it stopped.

    Args:
        packages: Names of Debian packages.
        folder: Where to keep them; made if missing.
        report: Called with a line for each package that is fetched.

    Raises:
        RuntimeError: Something must be fetched and this is no Debian-like system, or apt-get or
            dpkg fails.
    """
    archives, extracted = folder / "deb", folder / "x"
    archives.mkdir(parents=True, exist_ok=True)
    extracted.mkdir(parents=True, exist_ok=True)
    for name in packages:
        target = extracted / name
        if target.is_dir():
            continue
        report(f"fetching {name}")
        archive = _archive(archives, name)
        if archive is None:
            _run(["apt-get", "-q", "download", name], archives)
            archive = _archive(archives, name)
            if archive is None:
                raise RuntimeError(f"apt-get downloaded nothing for {name}: run apt-get update")
        # A folder that exists is always complete.
        with replacing_folder(target) as partial:
            _run(["dpkg", "-x", str(archive.resolve()), str(partial.resolve())], archives)


def _archive(folder: Path, package: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise RuntimeError(
            f"{command[0]} is missing: fetch the packages on Debian, or pass a folder that holds "
            "them with --packages"
        )
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(
            f"{' '.join(command[:3])} failed ({reason}): run apt-get update and check the network"
        )
