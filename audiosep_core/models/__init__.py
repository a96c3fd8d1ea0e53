"""The models that ship inside the package, and where others are looked for."""

from __future__ import annotations

from pathlib import Path

from audiosep_core.bundle import DESCRIPTION, TEXT_ENCODER, TOKENIZER, Bundle, cache_folder
from audiosep_core.errors import UnknownModelError
from audiosep_core.text import TextEncoder

DEFAULT_MODEL = "mini"
_PACKAGED = Path(__file__).parent


def installed_models() -> dict[str, Path]:
    """Name to folder of every bundle that is at hand: packaged ones, then the user's cache."""
    found: dict[str, Path] = {}
    for root in (cache_folder() / "models", _PACKAGED):
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
    return _PACKAGED / name


def bundled_text_encoder() -> TextEncoder:
    """The sentence encoder of the default model."""
    folder = packaged_folder(DEFAULT_MODEL)
    return TextEncoder(folder / TEXT_ENCODER, folder / TOKENIZER)
