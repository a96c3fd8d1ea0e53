"""The installed VST3 as an effect of pedalboard's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiosep_core.errors import UsageError
from audiosep_core.extras import needed_for
from plugin_bridge.plugin.bundles import BUNDLES
from plugin_bridge.plugin.state import texts_of, with_texts

if TYPE_CHECKING:
    from pedalboard import VST3Plugin

#: Characters of a prompt.
_LONGEST = 512


def failed_seconds(plugin: VST3Plugin) -> float:
    """Seconds of what a plug-in has rendered that were not separated; 0 behind a whole bounce.

    Outside of its editor pedalboard does not hear of a plug-in's meters, so the state is asked.

    Raises:
        UsageError: It is not the AudioSep plug-in.
    """
    return float(texts_of(plugin.raw_state).get("failed", 0))


def load_vst3(
    prompt: str, negative: str = "", path: str | Path | None = None, **parameters: float | str
) -> VST3Plugin:
    """The plug-in with a prompt, ready for a native ``pedalboard.Pedalboard``.

        >>> from pedalboard import Compressor, Pedalboard, Reverb
        >>> board = Pedalboard([Compressor(), load_vst3(prompt="the hi-hat"), Reverb()])

    It starts a server where none runs; :func:`failed_seconds` tells whether a bounce is whole.

    Args:
        prompt: What to let through, 1 to 512 characters.
        negative: What not to.
        path: Of the bundle; where ``audiosep plugin install`` puts it, if None.
        parameters: Controls of the plug-in, as ``strength=1.5``, ``mix=80``,
            ``output="Residual"``, ``mode="Track"``.

    Raises:
        UsageError: The bundle is not there, a prompt is empty or too long, or there is no such
            control.
    """
    bundle = Path(path) if path is not None else BUNDLES[0].location()
    for text in (prompt, negative):
        if len(text) > _LONGEST:
            raise UsageError(
                f"a prompt has at most {_LONGEST} characters, this one has {len(text)}"
            )
    if not prompt.strip():
        raise UsageError("the prompt is empty; say what is to be heard, such as 'the hi-hat'")
    if not bundle.exists():
        raise UsageError(f"{bundle} is not there; run 'audiosep plugin install'")
    with needed_for("load_vst3", "pedalboard"):
        import pedalboard
    plugin = pedalboard.VST3Plugin(str(bundle))
    plugin.raw_state = with_texts(plugin.raw_state, {"prompt1": prompt, "negative1": negative})
    # pedalboard's stub leaves the property out.
    controls = plugin.parameters  # type: ignore[attr-defined]
    for name, value in parameters.items():
        if name not in controls:
            known = ", ".join(controls)
            raise UsageError(f"the plug-in has no control {name!r}; it has {known}")
        setattr(plugin, name, value)
    return plugin
