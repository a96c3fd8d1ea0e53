"""Queries that are no words: a sound like the one that is wanted, or pictures of what makes it.

They need a model with the towers that hear and see: ``audio_encoder.onnx`` (CLAP's) and
``image_encoder.onnx`` (CLIP's), which run without PyTorch like the text encoder.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, QueryError
from audiosep_core.model.bundle import AUDIO_ENCODER, IMAGE_ENCODER, Bundle
from audiosep_core.query.text_encoder import encoder_session
from audiosep_core.video import read_frames

if TYPE_CHECKING:
    import onnxruntime

#: Rate in Hz and length in samples of what the audio tower hears at a time.
RATE, SAMPLES = 48_000, 480_000
_WINDOW, _HOP = 1024, 480
#: Frames and bins of its spectrogram.
SPECTRUM = (SAMPLES // _HOP + 1, _WINDOW // 2 + 1)
# What is left of a longer sound counts from this length on, one second.
_SHORTEST = RATE
_PICTURES = 16


@dataclasses.dataclass(frozen=True)
class Example:
    """A file that asks.

    Attributes:
        path: The file.
        kind: "sound" asks for what sounds like it, "video" for what is seen in it; a picture is
            a video of one frame.
    """

    path: str
    kind: Literal["sound", "video"]


class ExampleEncoder:
    """Embeds examples for one model; a tower is loaded by the first that needs it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._known: dict[Example, tuple[tuple[int, int], NDArray[np.float32]]] = {}

    def embed(self, example: Example) -> NDArray[np.float32]:
        """The embedding of an example: (condition_size,) float32 of unit length.

        Raises:
            QueryError: The model has no tower for it, or the sound is silent.
            AudioFileError: The file is missing or damaged, or ffmpeg is, which reads videos.
            BundleError: The tower is damaged.
        """
        path = Path(example.path)
        status = path.stat() if path.is_file() else None
        # Another file may have come in the place of the one that is known.
        content = (status.st_size, status.st_mtime_ns) if status else (0, 0)
        known = self._known.get(example)
        if known is None or known[0] != content:
            made = self._heard if example.kind == "sound" else self._seen
            known = self._known[example] = content, _mean(made(path))
        return known[1]

    def embed_sound(self, audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """The embedding of a sound in memory: (samples,) to (condition_size,) of unit length.

        Raises:
            QueryError: The model has no tower for it.
            BundleError: The tower is damaged.
        """
        return _mean(self._embedded(audio, sample_rate))

    def _heard(self, path: Path) -> NDArray[np.float32]:
        # Whoever only names an example, as settings do, need not load what reads it.
        import soundfile

        self._audio_session()
        try:
            channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioFileError(
                f"{path} cannot be read as a sound ({error}); give a WAV, FLAC, Ogg or MP3 file"
            ) from None
        if not np.isfinite(channels).all() or not channels.any():
            raise QueryError(
                f"{path} is silent or broken; give a sound like the one that is wanted"
            )
        return self._embedded(channels.mean(1), rate)

    def _embedded(self, audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """(samples,) to (pieces, size)."""
        import soxr

        session = self._audio_session()
        heard = np.asarray(soxr.resample(audio, rate, RATE), np.float32)
        rows = [
            session.run(None, {"power": power_spectrogram(piece)[None]})[0][0]
            for piece in _pieces(heard)
        ]
        return np.stack(rows)

    def _audio_session(self) -> onnxruntime.InferenceSession:
        return self._session(AUDIO_ENCODER, "hear a sound as a query", "--audio-encoder")

    def _seen(self, path: Path) -> NDArray[np.float32]:
        session = self._session(IMAGE_ENCODER, "see a video as a query", "--image-encoder")
        frames = read_frames(path, session.get_inputs()[0].shape[1])
        rows = [
            session.run(None, {"frames": frames[start : start + _PICTURES]})[0]
            for start in range(0, len(frames), _PICTURES)
        ]
        return np.concatenate(rows)

    def _session(self, file: str, what: str, option: str) -> onnxruntime.InferenceSession:
        if file not in self._bundle.hashes:
            raise QueryError(
                f"the model {self._bundle.name} has no {file} and cannot {what}; take one that was "
                f"exported with {option}, such as the released AudioSep with CLAP or CLIP"
            )
        if file not in self._sessions:
            self._sessions[file] = encoder_session(self._bundle.path(file), "tower")
        return self._sessions[file]


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = rows.mean(0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def power_spectrogram(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the audio tower takes of up to ten seconds at 48 kHz: (1001, 513) float32.

    A shorter sound is repeated in whole as often as it fits, and followed by silence.
    """
    audio = np.tile(audio, max(1, SAMPLES // max(1, len(audio))))[:SAMPLES]
    audio = np.pad(np.pad(audio, (0, SAMPLES - len(audio))), _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(audio, _WINDOW)[::_HOP]
    # The periodic Hann window.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    spectrum = np.fft.rfft(frames * window)
    return np.asarray(spectrum.real**2 + spectrum.imag**2, np.float32)


def _pieces(audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Ten seconds each; the rest of a longer sound counts if it is a second at least."""
    pieces = [audio[start : start + SAMPLES] for start in range(0, len(audio), SAMPLES)]
    if len(pieces) > 1 and len(pieces[-1]) < _SHORTEST:
        pieces.pop()
    return pieces
