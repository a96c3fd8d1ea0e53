"""Decodes sound files into the form the corpus stores: mono, 32 kHz, trimmed, normalised."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiosep_training.corpus.store import SAMPLE_RATE, quantise

LONGEST_SECONDS = 60.0
SHORTEST_SECONDS = 0.25
PEAK = 0.5
_READ_SECONDS = 75.0
_SILENCE = 1e-3
_INAUDIBLE_PEAK = 1e-3
# A telephone codec without a header: one byte for two samples at 16 kHz.
_G722, _G722_RATE = ".g722", 16_000
_NARROW_RATE, _NARROW_SPEECH_RATE = 12_000, 16_000
# Of half the rate: above lies the slope of the filters on the way.
_USABLE = 0.97


class UnreadableAudioError(Exception):
    """A file that neither libsndfile nor ffmpeg can decode."""


def load(path: Path, aligned: bool = False) -> NDArray[np.int16] | None:
    """A clip as it is stored: (samples,) int16, mono, 32 kHz, peak 0.5.

    Silence at both ends (60 dB below the peak) is cut off, and so is all after 60 s.

    Args:
        path: Of the sound file.
        aligned: The clip starts with other clips: keep the silence in front of it.

    Returns:
        None for what is shorter than 0.25 s or as good as silent.

    Raises:
        UnreadableAudioError: The file cannot be decoded.
    """
    audio, rate = _decode(path)
    if audio.size == 0:
        return None
    mono = audio.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise UnreadableAudioError(f"{path} holds samples that are no numbers")
    return prepare(np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), np.float32), aligned)


def prepare(audio: NDArray[np.float32], aligned: bool = False) -> NDArray[np.int16] | None:
    """Trim, cut and normalise (samples,) at 32 kHz; None for what is too short or too quiet."""
    peak = float(np.abs(audio).max(initial=0.0))
    if peak < _INAUDIBLE_PEAK:
        return None
    audible = np.flatnonzero(np.abs(audio) > _SILENCE * peak)
    first = 0 if aligned else audible[0]
    audio = audio[first : audible[-1] + 1][: int(LONGEST_SECONDS * SAMPLE_RATE)]
    if len(audio) < SHORTEST_SECONDS * SAMPLE_RATE:
        return None
    return quantise(audio * np.float32(PEAK / np.abs(audio).max()))


def duration(path: Path) -> float:
    """Length in s by the file's header, at most 60; for what libsndfile cannot read, 60."""
    if path.suffix == _G722:
        return min(2 * path.stat().st_size / _G722_RATE, LONGEST_SECONDS)
    try:
        return min(float(soundfile.info(path).duration), LONGEST_SECONDS)
    except soundfile.SoundFileError:
        return LONGEST_SECONDS


def bandwidth(path: Path, domain: str) -> float:
    """What a narrow-band file holds, in Hz, by its header; 0 for all others.

    Narrow are rates up to 12 kHz, and for speech, which misses its highs most, up to 16 kHz.
    """
    try:
        rate = _G722_RATE if path.suffix == _G722 else int(soundfile.info(path).samplerate)
    except soundfile.SoundFileError:
        return 0.0
    narrow = _NARROW_SPEECH_RATE if domain == "speech" else _NARROW_RATE
    return round(_USABLE * rate / 2) if rate <= narrow else 0.0


def _decode(path: Path) -> tuple[NDArray[np.float32], int]:
    try:
        return _read(path)
    except soundfile.SoundFileError:
        pass
    if shutil.which("ffmpeg") is None:
        raise UnreadableAudioError(f"libsndfile cannot decode {path}: install ffmpeg")
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "decoded.wav"
        command = ["ffmpeg", "-v", "error", "-t", str(_READ_SECONDS), "-i", str(path)]
        subprocess.run([*command, "-c:a", "pcm_f32le", str(wave)], capture_output=True)
        try:
            return _read(wave)
        except soundfile.SoundFileError as error:
            raise UnreadableAudioError(
                f"neither libsndfile nor ffmpeg can decode {path}"
            ) from error


def _read(path: Path) -> tuple[NDArray[np.float32], int]:
    with soundfile.SoundFile(path) as file:
        audio = file.read(int(_READ_SECONDS * file.samplerate), dtype="float32", always_2d=True)
        return audio, int(file.samplerate)
