"""``audiosep demo``: hear and see a separation without any file of one's own."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from audiosep_core.commands.console import console, device_option, model_option
from audiosep_core.demo import demo_sources
from audiosep_core.errors import MissingPackageError
from audiosep_core.files.audio_writer import AudioWriter, writing
from audiosep_core.files.job import check_writable, stem_names
from audiosep_core.files.spectrogram import save_spectrograms
from audiosep_core.separator import Separator
from audiosep_core.signal.metrics import sdr_improvement


@click.command()
@click.option(
    "-o",
    "--output",
    default="audiosep-demo",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for stems and spectrograms.",
)
@model_option
@device_option
def command(output: Path, model: str, device: str) -> None:
    """Separate a mixture of real recordings that ships with audiosep.

    Writes the mixture, its stems, the residual and one PNG with their spectrograms, and prints
    by how much each stem is closer to its source than the mixture was.
    """
    sources, sample_rate = demo_sources()
    mixture = np.sum(list(sources.values()), axis=0)
    started = time.perf_counter()
    stems = Separator(model, device).separate(mixture, sample_rate, list(sources))  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    sounds = {"mixture": mixture, **stems}
    names = {"mixture": "mixture", **stem_names(list(sources))}
    check_writable(output)
    writers: list[AudioWriter] = []
    with writing(writers):
        for title, audio in sounds.items():
            path = output / f"{names[title]}.wav"
            writers.append(AudioWriter(path, sample_rate, len(audio), "WAV", "FLOAT"))
            writers[-1].write(audio)
    picture = output / "spectrograms.png"
    try:
        save_spectrograms(picture, sounds, sample_rate)
        drawn = str(picture)
    except MissingPackageError as error:
        drawn = f"not drawn: {error}"
    length = mixture.shape[-1] / sample_rate
    console.print(f"separated {length:.1f} s of audio in {seconds:.2f} s", highlight=False)
    for query, source in sources.items():
        gain = sdr_improvement(source.ravel(), stems[query].ravel(), mixture.ravel())
        click.echo(f"{query:<24} SDRi {gain:5.1f} dB   {output / (names[query] + '.wav')}")
    rest = float(np.abs(mixture - sum(stems.values())).max())
    click.echo(f"{'stems + residual':<24} differ from the mixture by at most {rest:.1e}")
    click.echo(f"{'spectrograms':<24} {drawn}")
