"""The page as a folder that can be pushed to a hub, where it is called a Space."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from audiosep_core.atomic import replacing
from audiosep_core.errors import AudioPathError

_APP = """\
from plugin_bridge.desk.page import CSS, build_page, theme

build_page().queue().launch(theme=theme(), css=CSS)
"""
_README = """\
---
title: AudioSep
sdk: gradio
sdk_version: {gradio}
app_file: app.py
license: mit
---

Describe a sound; hear it alone. HARP loads this page's address as a model.
"""


def write_space(folder: Path) -> list[Path]:
    """Write app.py, requirements.txt and README.md into a folder; no Dockerfile is needed.

    Raises:
        AudioPathError: One of them exists, or the folder cannot be written to.
    """
    version, gradio = metadata.version("audiosep"), metadata.version("gradio")
    files = {
        "app.py": _APP,
        "requirements.txt": f"audiosep[cpu,desk]=={version}\n",
        "README.md": _README.format(gradio=gradio),
    }
    for name in files:
        if (folder / name).exists():
            raise AudioPathError(f"{folder / name} exists; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with replacing(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AudioPathError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return [folder / name for name in files]
