"""What is seen: a sound, words, and a row for every stem."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from audiosep_core.demo import demo_sources
from audiosep_core.errors import AudioSepError
from audiosep_core.files.audio_writer import AudioWriter, writing
from audiosep_core.model.installed import installed_models
from plugin_bridge.desk.harp import add_endpoint
from plugin_bridge.desk.heard import modes_of
from plugin_bridge.desk.remix import levels, remix
from plugin_bridge.desk.runs import Runs
from plugin_bridge.desk.separation import (
    MOST_STEMS,
    PLAYED_SECONDS,
    Models,
    Result,
    parse_settings,
    separate_sound,
)

_ROWS = MOST_STEMS + 1
CSS = """
.stem { gap: 0; background: var(--block-background-fill); border-radius: var(--block-radius); }
.stem .block, .picture { border-width: 0 !important; box-shadow: none; }
/* As far from the sides as the waveform in a player is. */
.picture { padding: 0 12px 8px !important; }
.picture img { width: 100%; height: 104px; object-fit: fill; }
.picture button, .picture .image-frame, .picture .image-container { padding: 0; width: 100%; }
.picture .icon-button-wrapper, .stem .icon-button-wrapper:not(:has(*)) { display: none; }
/* In sight, whichever stem is looked at. */
#mixture-picture {
    position: sticky; top: 0; z-index: 5; overflow: hidden;
    margin-top: calc(-1 * var(--layout-gap)); background: var(--block-background-fill);
}
.gradio-container { overflow: visible !important; }
.levels { align-items: center; padding: 0 12px 8px; }
.levels > .block { min-width: 80px !important; }
.levels .form { min-width: min(300px, 100%) !important; box-shadow: none; overflow: hidden; }
.levels .block { padding: 0; }
.levels input[type=checkbox] { border: 1px solid var(--neutral-400); }
#said { min-height: 96px; overflow: hidden; }
footer { display: none !important; }
"""


def theme() -> gr.themes.Base:
    """Fonts of the machine, so that none is fetched."""
    return gr.themes.Soft(
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def build_page(models: Models | None = None, loopback: bool = False) -> gr.Blocks:
    """The page, to be launched; its endpoint for HARP is in it.

    Args:
        models: Where models come from.
        loopback: Whether only this machine reaches the page, which then says so.
    """
    models = models or Models()
    runs = Runs()
    with gr.Blocks(
        title="AudioSep", analytics_enabled=False, fill_width=True, delete_cache=(600, 86_400)
    ) as page:
        private = " Nothing leaves this machine." if loopback else ""
        gr.Markdown(f"# AudioSep\nDescribe a sound; hear it alone.{private}")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                source = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Sound",
                    elem_id="sound",
                    buttons=[],
                )
                queries = gr.Textbox(
                    label="Sounds to separate, one a line",
                    info="A gain may follow: drums = -6 dB",
                    placeholder="a person speaking",
                    lines=3,
                    elem_id="queries",
                )
                negatives = gr.Textbox(
                    label="Sounds to take out of them",
                    placeholder="none",
                    lines=1,
                    max_lines=6,
                    elem_id="negatives",
                )
                with gr.Accordion("Strength, remainder, model, mode", open=False, elem_id="more"):
                    strength = gr.Slider(0.1, 4, 1, step=0.1, label="Strength")
                    # A field for numbers turns nothing into 0 dB, which is all of it.
                    remainder = gr.Textbox(
                        label="Remainder in dB",
                        info="How much of what is in no stem is added to each",
                        placeholder="none",
                        max_lines=1,
                        elem_id="remainder",
                    )
                    names = sorted({models.first, *installed_models()})
                    model = gr.Dropdown(names, value=models.first, label="Model", elem_id="model")
                    mode = gr.Dropdown(
                        modes_of(models[models.first]),
                        value="render",
                        label="Mode",
                        info="render separates best; the others sound as a live stream does",
                        elem_id="mode",
                    )
                with gr.Row():
                    go = gr.Button("Separate", variant="primary", min_width=120, elem_id="separate")
                    stop = gr.Button("Stop", min_width=120, elem_id="stop")
                examples = _Examples()
            with gr.Column(scale=5, min_width=480):
                said = gr.Markdown("Stems appear here.", elem_id="said")
                players = gr.State([])
                with gr.Column(visible=False, elem_classes="stem") as mixture:
                    whole = gr.Audio(
                        label="mixture", interactive=False, elem_id="mixture", buttons=[]
                    )
                whole_picture = _picture("mixture-picture", visible=False)
                rows = [_StemRow(place) for place in range(_ROWS)]
                with gr.Column(visible=False, elem_classes="stem") as remixing:
                    mixed = gr.Audio(
                        label="Remix", interactive=False, elem_id="remix", buttons=["download"]
                    )
        outputs = [said, players, mixture, whole, whole_picture, remixing, mixed]
        outputs += [part for row in rows for part in row.parts]

        def separate(
            path: str | None,
            wanted: str,
            unwanted: str,
            strong: float,
            rest: str,
            name: str,
            how: str,
            request: gr.Request,
            progress: Any = gr.Progress(),  # noqa: B008
        ) -> list[Any]:
            try:
                settings = parse_settings(wanted, unwanted, strong, rest)
                with runs.run(str(request.session_hash)) as check:

                    def tell(part: float) -> None:
                        check()
                        progress(part, desc="Separating")

                    result = separate_sound(models, path, settings, name, tell, how)
                sounds = result.sounds[1:]
                remixed = remix([sound.player for sound in sounds], [1.0] * len(sounds))
            except (AudioSepError, ValueError, OSError) as error:
                raise gr.Error(str(error), print_exception=False) from None
            shown: list[Any] = [_told(result), [str(sound.player) for sound in sounds]]
            shown += [
                gr.update(visible=True),
                str(result.sounds[0].player),
                gr.update(value=str(result.sounds[0].picture), visible=True),
                gr.update(visible=True),
                str(remixed),
            ]
            for place, row in enumerate(rows):
                shown += row.updates(sounds[place] if place < len(sounds) else None)
            return shown

        running = go.click(
            separate,
            [source, queries, negatives, strength, remainder, model, mode],
            outputs,
            concurrency_id="separate",
            concurrency_limit=1,
            show_progress_on=said,
            api_name="separate",
        )

        def give_up(request: gr.Request) -> None:
            runs.stop(str(request.session_hash))

        stop.click(give_up, None, None, cancels=[running], api_visibility="private")
        # A tab that is closed.
        page.unload(give_up)

        def offer_modes(name: str, now: str) -> Any:
            try:
                kept = modes_of(models[name])
            except AudioSepError as error:
                raise gr.Error(str(error), print_exception=False) from None
            return gr.update(choices=kept, value=now if now in kept else kept[0])

        model.input(offer_modes, [model, mode], mode, api_visibility="private")
        examples.offer(source, queries, negatives)

        def mix_again(paths: list[str], *values: Any) -> str | None:
            if not paths:
                return None
            count = len(paths)
            gains, mutes, solos = (values[at * _ROWS : at * _ROWS + count] for at in range(3))
            try:
                return str(remix([Path(path) for path in paths], levels(gains, mutes, solos)))
            except (OSError, AudioSepError) as error:
                raise gr.Error(f"the remix failed: {error}", print_exception=False) from None

        knobs = [getattr(row, kind) for kind in ("gain", "mute", "solo") for row in rows]
        for knob in knobs:
            # By pointer or by keyboard, but not when it is put back for new stems.
            knob.input(
                mix_again,
                [players, *knobs],
                mixed,
                trigger_mode="always_last",
                show_progress="hidden",
                api_visibility="private",
            )
        add_endpoint(models, runs)
    return page


class _Examples:
    """The mixture that ships, and words for what is in it."""

    def __init__(self) -> None:
        sources, self._rate = demo_sources()
        self._sound = np.sum(list(sources.values()), axis=0)
        first, second = sources
        #: What the button says, queries, and negative queries.
        self._asked = [
            (f"{first} + {second}", f"{first}\n{second}", ""),
            (first, first, ""),
            (f"{second}, without {first}", second, first),
        ]
        self._choices = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[[label] for label, _, _ in self._asked],
            label="Examples, in a recording that ships",
            layout="gallery",
            type="index",
            elem_id="demo",
        )

    def offer(self, *fields: Any) -> None:
        """Put the one that is chosen into the fields for sound, queries and negative queries."""
        self._choices.click(self._chosen, self._choices, list(fields), api_visibility="private")

    def _chosen(self, number: int) -> tuple[str, str, str]:
        try:
            path = Path(tempfile.mkdtemp(prefix="desk-")) / "demo.wav"
            writer = AudioWriter(path, self._rate, len(self._sound), "WAV", "FLOAT")
            with writing([writer]):
                writer.write(self._sound)
        except (OSError, AudioSepError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        return str(path), *self._asked[number][1:]


class _StemRow:
    """A stem: its player above its spectrogram, what to take home, and its levels."""

    def __init__(self, place: int) -> None:
        with gr.Column(visible=False, elem_classes="stem") as self.column:
            self.player = gr.Audio(interactive=False, buttons=[], elem_id=f"stem-{place}")
            self.picture = _picture(f"picture-{place}", visible=True)
            with gr.Row(elem_classes="levels"):
                self.gain = gr.Slider(
                    -40,
                    12,
                    0,
                    step=1,
                    label="Gain in dB",
                    scale=4,
                    min_width=160,
                    buttons=[],
                    elem_id=f"gain-{place}",
                )
                self.mute = gr.Checkbox(
                    label="Mute", scale=1, min_width=80, container=False, elem_id=f"mute-{place}"
                )
                self.solo = gr.Checkbox(
                    label="Solo", scale=1, min_width=80, container=False, elem_id=f"solo-{place}"
                )
                self.home = gr.DownloadButton(
                    "Download", size="sm", scale=3, min_width=200, elem_id=f"download-{place}"
                )

    @property
    def parts(self) -> list[Any]:
        """What :meth:`updates` has a value for."""
        return [self.column, self.player, self.picture, self.gain, self.mute, self.solo, self.home]

    def updates(self, sound: Any) -> list[Any]:
        """A sound, or nothing, and levels as they were in the beginning."""
        if sound is None:
            return [gr.update(visible=False), None, None, 0, False, False, None]
        label = f"Download {sound.file.name}"
        return [
            gr.update(visible=True),
            gr.update(value=str(sound.player), label=sound.title),
            str(sound.picture),
            0,
            False,
            False,
            gr.update(value=str(sound.file), label=label),
        ]


def _picture(name: str, visible: bool) -> gr.Image:
    return gr.Image(
        type="filepath",
        interactive=False,
        buttons=[],
        show_label=False,
        visible=visible,
        elem_id=name,
        elem_classes="picture",
        container=False,
    )


def _told(result: Result) -> str:
    """How long it took and on what, and how to hear the same live."""
    told = (
        f"{result.length:.1f} s separated in {result.seconds:.1f} s by the model "
        f"{result.model}, mode {result.mode}, on {result.device}."
    )
    if result.length > PLAYED_SECONDS:
        minutes = PLAYED_SECONDS // 60
        told += f" Players and remix hold the first {minutes} minutes, the downloads all of it."
    command = f"audiosep listen -q {shlex.quote(result.sounds[1].title)}"
    told += f"\n\nLive, from a microphone: `{command} --model {result.model} --mode {result.live}`"
    told += f" answers after {result.latency_ms:.0f} ms; `--loop FILE` plays a file."
    if result.live != "live":
        told += f" `{command}` alone answers within 20 ms, by the model live."
    return told
