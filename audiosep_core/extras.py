"""Optional parts of the installation: what to say where one is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator

from audiosep_core.errors import MissingPackageError


@contextlib.contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Import optional packages inside; one that is not installed ends in one sentence.

    Args:
        what: What they are needed for, as the subject of that sentence.
        extra: What installs them; several with commas.

    Raises:
        MissingPackageError: A package of another project is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not is_not_installed(error):
            raise
        raise MissingPackageError(
            f"{what} needs the package {_root(error)!r}, which is not installed; run: "
            f"{install_command(extra)}"
        ) from None


def is_not_installed(error: ModuleNotFoundError) -> bool:
    """Whether the cause is a package of another project that is not there.

    Anything else (a module missing inside a package that is there, our own included, or one
    of Python's) is a fault that installing extras would not repair.
    """
    root = _root(error)
    if not root or root in sys.stdlib_module_names:
        return False
    return not is_there(root)


def is_there(package: str) -> bool:
    """Whether a package can be imported, without doing it."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        # It was imported without having been found, as stand-ins in tests are.
        return True
    # A folder of that name on the path is found as a namespace, which has no origin.
    return spec is not None and spec.origin is not None


def install_command(extra: str) -> str:
    """The command that adds an extra (or several, with commas) to this installation."""
    if extra != "cpu" and not is_there("onnxruntime"):
        extra = f"cpu,{extra}"
    return f"pip install 'audiosep[{extra}]'"


def _root(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
