"""``audiosep listen``: hear a microphone or a looped file through the network, live."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from audiosep_core.commands.console import console
from audiosep_core.errors import AudioSepError, MissingPackageError
from audiosep_core.extras import needed_for
from audiosep_core.files.audio_reader import AudioReader
from plugin_bridge.live.engine import StreamingSeparator

_LONGEST_LOOP_SECONDS = 600


@click.command(
    epilog="""\b
Examples:
  audiosep listen -q "a person speaking"
  audiosep listen -q drums --loop song.wav --mode track --model mini
  audiosep listen --devices
"""
)
@click.option("-q", "--query", "queries", multiple=True, metavar="TEXT", help="What to hear.")
@click.option(
    "--loop",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Play a file again and again instead of the microphone.",
)
@click.option(
    "--mode",
    type=click.Choice(["live", "track", "mix"]),
    default="live",
    show_default=True,
    help="live answers within 20 ms, track within 341, mix takes as long as the model likes.",
)
@click.option("--device", metavar="NAME", help="Sound device: a number, or a part of its name.")
@click.option("--devices", is_flag=True, help="List the sound devices, and end.")
@click.option("--seconds", type=click.FloatRange(min=0.01), help="End after so long.")
@click.option(
    "--model",
    metavar="NAME_OR_PATH",
    help="Name of an installed model, or path of a bundle. [default: 'live' in mode live, 'mini' "
    "in the others]",
)
def command(
    queries: tuple[str, ...],
    loop: Path | None,
    mode: str,
    device: str | None,
    devices: bool,
    seconds: float | None,
    model: str | None,
) -> None:
    """Hear what a sentence describes, from the microphone or a file, as it plays.

    The latency of the separation is shown; that of the sound card comes on top. Ctrl-C ends it.
    Use headphones, or the microphone hears the loudspeaker.
    """
    sounddevice = _sounddevice()
    if devices:
        click.echo(str(sounddevice.query_devices()) or "no sound device was found")
        return
    if not queries:
        raise click.UsageError("Missing option '-q'; say in words what to hear.")
    looped = _read(loop) if loop else None
    chosen: Any = int(device) if device and device.isdigit() else device
    try:
        default_rate = _default_rate(sounddevice, chosen)
        audio, rate = looped or (None, default_rate)
        channels = 1 if audio is None else audio.shape[0]
        engine = StreamingSeparator(list(queries), rate, channels, mode, model)  # type: ignore[arg-type]
        ended = threading.Event()
        make = sounddevice.OutputStream if loop else sounddevice.Stream
        with make(
            samplerate=rate,
            channels=channels,
            device=chosen,
            dtype="float32",
            callback=callback(engine, audio),
        ) as stream:
            told(engine, stream.latency)
            ended.wait(seconds)
    except sounddevice.PortAudioError as error:
        raise NoSoundError(
            f"the sound device cannot be used: {error}; 'audiosep listen --devices' lists them"
        ) from None
    except KeyboardInterrupt:
        console.print("ended")


class NoSoundError(AudioSepError):
    """No sound device can be used."""


def callback(engine: StreamingSeparator, loop: NDArray[np.float32] | None) -> Callable[..., None]:
    """What a sound device calls for every block: ``(in, out, ...)``, or ``(out, ...)`` of a loop.

    Args:
        engine: What separates.
        loop: (channels, frames) to play again and again, or None for what comes in.
    """
    position = 0

    def from_microphone(
        heard: NDArray[np.float32], out: NDArray[np.float32], *rest: object
    ) -> None:
        out[:] = engine.process(np.ascontiguousarray(heard.T)).T

    def from_loop(out: NDArray[np.float32], *rest: object) -> None:
        nonlocal position
        assert loop is not None
        places = np.arange(position, position + len(out)) % loop.shape[1]
        position = (position + len(out)) % loop.shape[1]
        out[:] = engine.process(np.ascontiguousarray(loop[:, places])).T

    return from_microphone if loop is None else from_loop


def told(engine: StreamingSeparator, card: float | tuple[float, float]) -> None:
    """Show the latency of the separation, and of the sound card in seconds."""
    samples = engine.latency_samples
    separation = 1000 * samples / engine.sample_rate
    both = 1000 * (sum(card) if isinstance(card, tuple) else card)
    console.print(
        f"latency {separation:.1f} ms ({samples} samples at {engine.sample_rate} Hz), "
        f"sound card {both:.1f} ms",
        highlight=False,
    )


def _default_rate(sounddevice: Any, device: int | str | None) -> int:
    """Of an output device, in Hz.

    Raises:
        NoSoundError: There is no device at all, or none of that name or number.
    """
    if not len(sounddevice.query_devices()):
        raise NoSoundError("no sound device was found; connect one, or start the sound server")
    try:
        return int(sounddevice.query_devices(device, "output")["default_samplerate"])
    except ValueError as error:
        raise NoSoundError(f"{error}; 'audiosep listen --devices' lists those that exist") from None


def _read(path: Path) -> tuple[NDArray[np.float32], int]:
    with AudioReader(path) as reader:
        frames, blocks = 0, []
        for block in reader.blocks(reader.sample_rate):
            blocks.append(block)
            frames += block.shape[1]
            if frames >= _LONGEST_LOOP_SECONDS * reader.sample_rate:
                break
        return np.concatenate(blocks, -1), reader.sample_rate


def _sounddevice() -> Any:
    """The library, or one sentence.

    Raises:
        MissingPackageError: It, or PortAudio, is not installed.
    """
    try:
        with needed_for("'audiosep listen'", "listen"):
            import sounddevice
    except OSError:
        raise MissingPackageError(
            "'audiosep listen' needs the library PortAudio, which is not installed; on Debian "
            "run: apt install libportaudio2"
        ) from None
    return sounddevice
