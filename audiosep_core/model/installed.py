"""The models that ship inside the package, and where others are looked for."""

from __future__ import annotations

from pathlib import Path

from audiosep_core.errors import UnknownModelError
from audiosep_core.model.bundle import DESCRIPTION, PACKAGED, SHARED, Bundle, cache_folder

DEFAULT_MODEL = "mini"
#: What is played through unless a model is named.
LIVE_MODEL = "live"


def installed_models() -> dict[str, Path]:
    """Name to folder of every bundle that is at hand: packaged ones, then the user's cache."""
    found: dict[str, Path] = {}
    for root in (cache_folder() / "models", PACKAGED):
        if root.is_dir():
            found.update(
                {path.parent.name: path.parent for path in sorted(root.glob(f"*/{DESCRIPTION}"))}
            )
    return found


def open_model(name_or_path: str | Path = DEFAULT_MODEL) -> Bundle:
    """The bundle with that name, or at that path.

    Raises:
        UnknownModelError: Nothing is there.
        BundleError: It is damaged.
    """
    installed = installed_models()
    if str(name_or_path) in installed:
        return Bundle.open(installed[str(name_or_path)])
    path = Path(name_or_path)
    if path.exists():
        return Bundle.open(path)
    raise UnknownModelError(
        f"no model is called {str(name_or_path)!r} and no bundle lies there; "
        f"installed: {', '.join(sorted(installed)) or 'none'}"
    )


def packaged_folder(name: str) -> Path:
    """Where a model that ships lies."""
    return PACKAGED / name


def packaged_text_encoder() -> Path:
    """Folder of the sentence encoder that the models which ship share."""
    return PACKAGED / SHARED


def default_model(mode: object) -> str:
    """The model of a stream that names none: what can be played through has one of its own."""
    return LIVE_MODEL if mode == "live" and LIVE_MODEL in installed_models() else DEFAULT_MODEL
