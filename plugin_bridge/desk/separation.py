"""What is asked in the page, and what becomes of it; nothing here knows of pages."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from audiosep_core.errors import AudioFileError, UsageError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.audio_writer import AudioWriter, writing
from audiosep_core.files.catalogue import Job
from audiosep_core.files.job import SeparationOptions, separate_file
from audiosep_core.files.spectrogram import file_spectrogram, save_strips
from audiosep_core.files.stem_pictures import MIXTURE
from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_core.separator import Separator, stem_queries
from audiosep_core.settings import Query, Settings
from plugin_bridge.desk.heard import HeardSeparator

#: Stems that the page has room for, without the rest.
MOST_STEMS = 6
#: What players and pictures hold; a browser keeps the whole of it in its memory.
PLAYED_SECONDS = 900
_BLOCK_FRAMES = 1 << 17
_GAIN = re.compile(r"(.*?)\s*=\s*([-+]?\d+(?:\.\d+)?)\s*(?:dB)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Track:
    """One sound of a result.

    Attributes:
        title: "mixture", a query, or "residual".
        file: What to take home: the sample rate, channels, type and tags of the input.
        player: The same as a WAV that every browser plays, or its first 15 minutes.
        picture: The spectrogram of what the player holds, as wide as that.
    """

    title: str
    file: Path
    player: Path
    picture: Path


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a sound.

    Attributes:
        sounds: The mixture, the stems, the residual.
        seconds: Time that the separation took.
        length: Of the sound, in seconds.
        model: Name of the model.
        mode: In which it was separated.
        live: In which the model can be listened to: that one, or the quickest in place of render.
        latency_ms: Of a live stream of that model in mode ``live``.
        device: What it ran on.
    """

    sounds: list[Track]
    seconds: float
    length: float
    model: str
    mode: str
    live: str
    latency_ms: float
    device: str


class Models:
    """Separators by name, loaded when they are first asked for."""

    def __init__(self, first: str = DEFAULT_MODEL) -> None:
        self.first = first
        self._lock = threading.Lock()
        self._loaded: dict[str, Separator] = {}

    def __getitem__(self, name: str) -> Separator:
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Separator(name)
            return self._loaded[name]


def parse_settings(lines: str, negatives: str, strength: float, remainder: str = "") -> Settings:
    """Settings from text fields: one query a line, with its gain as in "drums = -6 dB".

    Args:
        lines: The queries.
        negatives: What to take out of them, one a line.
        strength: Exponent of the masks.
        remainder: Level, in dB, of what no query claims; none of it if empty.

    Raises:
        QueryError: There is no query, or one is too long or given twice.
        UsageError: There are more than the page has room for, or the remainder is no number.
        ValueError: A number is impossible.
    """
    queries = []
    for line in filter(None, map(str.strip, (lines or "").splitlines())):
        found = _GAIN.fullmatch(line)
        queries.append(Query(found[1], float(found[2])) if found else Query(line))
    if len(queries) > MOST_STEMS:
        raise UsageError(f"the page takes {MOST_STEMS} sounds at a time, not {len(queries)}")
    without = filter(None, map(str.strip, (negatives or "").splitlines()))
    asked = [*queries, *(Query(text, negative=True) for text in without)]
    level = (remainder or "").lower().removesuffix("db").strip()
    try:
        remainder_db = float(level) if level else -math.inf
    except ValueError:
        raise UsageError(f"the remainder {remainder!r} is no number of dB; empty is none") from None
    settings = Settings(asked, strength, remainder_db)
    stem_queries(settings)
    return settings


def separate_sound(
    models: Models,
    source: str | None,
    settings: Settings,
    model: str,
    progress: Callable[[float], object],
    mode: str = "render",
) -> Result:
    """Separate a sound file of any length into a new folder of its own, in bounded memory.

    Args:
        models: Where the model comes from.
        source: Path of the file, or None if there is none yet.
        settings: What to separate.
        model: Name of the model.
        progress: Called with the part that is done, 0 to 1; what it raises ends the work, of which
            nothing is left then.
        mode: "render" for the quality of a file, or a live mode, to hear what that sounds like.

    Raises:
        UsageError: There is no sound.
        AudioFileError: The file cannot be read, or nothing can be written.
        BundleError: The model is unknown or damaged.
        ModeError: The model cannot keep to the mode.
    """
    if not source:
        raise UsageError("there is no sound yet: drop a file, record one, or take the demo")
    try:
        folder = Path(tempfile.mkdtemp(prefix="desk-"))
        try:
            separator = HeardSeparator(models[model], mode)  # type: ignore[arg-type]
            return _separate(separator, Path(source), folder, settings, progress)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise AudioFileError(f"the stems cannot be written: {error.strerror or error}") from None


def _separate(
    separator: HeardSeparator,
    path: Path,
    folder: Path,
    settings: Settings,
    progress: Callable[[float], object],
) -> Result:
    options = SeparationOptions(settings, separator.bundle.name, with_residual=True)
    # Paths of uploads mean nothing to anyone; their names do.
    job = Job(Path(path.name), folder / path.stem, content=path)
    started = time.perf_counter()
    outcome = separate_file(separator, job, options, lambda done, all_: progress(done / all_))
    seconds = time.perf_counter() - started
    files = [(MIXTURE, path), *((stem.query, stem.path) for stem in outcome.stems)]
    sounds, measured = [], []
    for place, (title, file) in enumerate(files):
        progress(1.0)
        player, picture = folder / f"{place}.wav", folder / f"{place}.png"
        length = _write_player(file, player)
        sounds.append(Track(title, file, player, picture))
        measured.append((picture, file_spectrogram(player)))
    save_strips(measured)
    device = str(getattr(separator.estimator, "provider", "CPU")).removesuffix("ExecutionProvider")
    return Result(
        sounds,
        seconds,
        length,
        separator.bundle.name,
        separator.mode,
        separator.live,
        separator.latency_ms,
        device,
    )


def _write_player(file: Path, target: Path) -> float:
    """Copy what a player holds, 16 bit, what is over full scale cut off.

    Returns:
        Seconds of the file.
    """
    with AudioReader(file) as reader:
        left = PLAYED_SECONDS * reader.sample_rate
        writer = AudioWriter(target, reader.sample_rate, reader.channels, "WAV", "PCM_16")
        with writing([writer]):
            for block in reader.blocks(_BLOCK_FRAMES):
                writer.write(block[:, :left])
                left -= block.shape[1]
                if left <= 0:
                    break
        return reader.frames / reader.sample_rate
