"""What HARP asks of an endpoint: its card and controls, to process a sound, to cancel.

HARP is an editor that DAWs open on a region. It posts to three named endpoints of a Gradio
application: ``controls`` answers with the model card and the controls, ``process`` takes a value
for every input and answers with a file for every output, ``cancel`` ends what runs. Conventions
are those of https://github.com/TEAMuP-dev/pyharp, whose package is not needed.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from audiosep_core.errors import AudioSepError
from plugin_bridge.desk.runs import Runs
from plugin_bridge.desk.separation import Models, parse_settings, separate_sound

_OUTPUTS = ("target", "residual")
_OWNER = "HARP"
_CARD = {
    "name": "AudioSep",
    "description": "Separates any sound that a sentence describes from a recording.",
    "author": "AudioSep for the DAW",
    "tags": ["source separation", "text", "stems"],
}


def controls() -> dict[str, Any]:
    """Card, inputs in the order of ``process``, and outputs."""
    return {
        "card": _CARD,
        "inputs": [
            _track("Mixture", "The recording to separate."),
            _text("Prompt", "The sound to separate, in words.", "a person speaking"),
            _text("Negative", "A sound to take out of it, in words; may stay empty.", ""),
            {
                "label": "Strength",
                "info": "Over 1 separates harder, under 1 softer.",
                "minimum": 0.1,
                "maximum": 4.0,
                "step": 0.1,
                "value": 1.0,
                "type": "slider",
            },
            {
                "label": "Output",
                "info": "The sound that was described, or all but that.",
                # Gradio lists choices as pairs of what is shown and what is sent.
                "choices": [[name, name] for name in _OUTPUTS],
                "value": _OUTPUTS[0],
                "multiselect": False,
                "type": "dropdown",
            },
        ],
        "outputs": [_track("Result", "At the rate and in the type of the mixture.")],
    }


def add_endpoint(models: Models, runs: Runs) -> None:
    """Add the three endpoints to the page that is being built; nothing of them is seen.

    A request to cancel ends all that HARP asked for: it comes without saying what it means.
    """
    inputs = [
        gr.Audio(type="filepath", visible=False),
        gr.Textbox(visible=False),
        gr.Textbox(visible=False),
        gr.Slider(0.1, 4.0, 1.0, step=0.1, visible=False),
        gr.Dropdown(list(_OUTPUTS), value=_OUTPUTS[0], visible=False),
    ]
    output = gr.Audio(type="filepath", visible=False)
    card = gr.JSON(visible=False)
    buttons = [gr.Button(visible=False) for _ in range(3)]

    def process(source: str | None, prompt: str, negative: str, strength: float, kind: str) -> str:
        try:
            settings = parse_settings(prompt, negative, strength)
            with runs.run(_OWNER) as check:
                result = separate_sound(
                    models, source, settings, models.first, lambda part: check()
                )
        except (AudioSepError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        return str(result.sounds[1 if kind == _OUTPUTS[0] else -1].file)

    buttons[0].click(controls, None, card, api_name="controls")
    running = buttons[1].click(
        process, inputs, output, api_name="process", concurrency_id="separate"
    )
    buttons[2].click(lambda: runs.stop(_OWNER), None, None, api_name="cancel", cancels=[running])


def _track(label: str, info: str) -> dict[str, Any]:
    return {"label": label, "info": info, "required": True, "type": "audio_track"}


def _text(label: str, info: str, value: str) -> dict[str, Any]:
    return {"label": label, "info": info, "value": value, "type": "text_box"}
