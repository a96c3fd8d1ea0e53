"""Audio files in and out: read in blocks, written whole or not at all.

Everything that libsndfile reads is accepted. A stem is written with the container, the rate,
the channels and the sample type of the file it came from, unless another container is asked.
"""

from __future__ import annotations

import glob
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, AudioPathError

#: Endings that are looked for in folders.
AUDIO_ENDINGS = frozenset(
    (
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aiff",
        ".aif",
        ".aifc",
        ".w64",
        ".caf",
        ".au",
    )
)
#: ``--format`` to container, sample type and ending.
FORMATS = {"wav": ("WAV", "FLOAT", ".wav"), "flac": ("FLAC", "PCM_24", ".flac")}
_FLOAT_TYPES = ("FLOAT", "DOUBLE")
_LOSSY_TYPES = ("VORBIS", "OPUS", "MPEG_LAYER_III", "MPEG_LAYER_II", "MPEG_LAYER_I")
# A data size that streaming writers leave in the header because they never learn the length.
_UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFF000)
_LARGEST_WAV = 2**32 - 2**16


class AudioReader:
    """A sound file that is known to be whole as far as its header tells.

    Use as a context manager.

    Args:
        path: The file.
        content: Its bytes, where they are in memory already; the path is then only its name.

    Attributes:
        path: The file.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Length in frames.
        format: Container, as libsndfile names it.
        subtype: Sample type, as libsndfile names it.

    Raises:
        AudioFileError: The file is missing, empty, truncated, or no audio.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._content = content
        if content is None and not path.exists():
            raise AudioPathError(f"{path} does not exist; check the path")
        if content is None and path.is_dir():
            raise AudioPathError(f"{path} is a folder, not an audio file")
        try:
            if not (path.stat().st_size if content is None else len(content)):
                raise AudioFileError(f"{path} is an empty file; copy it again")
            self._file = soundfile.SoundFile(path if content is None else io.BytesIO(content))
        except soundfile.LibsndfileError as error:
            raise AudioFileError(
                f"{path} is no audio file that can be read: {_reason(error)}"
            ) from None
        except OSError as error:
            raise AudioFileError(f"{path} cannot be opened: {error.strerror or error}") from None
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self.format: str = self._file.format
        self.subtype: str = self._file.subtype
        try:
            self._check_whole()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """The audio as (channels, n) float32 with n up to ``frames``.

        Raises:
            AudioFileError: The file is truncated or damaged, or holds NaN or infinity.
        """
        position = 0
        while position < self.frames:
            block = self._read(position, frames)
            position += block.shape[-1]
            yield block

    def segment(self, start: int, frames: int) -> NDArray[np.float32]:
        """Frames ``start`` to ``start + frames``, or to the end: (channels, n) float32.

        Raises:
            AudioFileError: The file is truncated or damaged, or holds NaN or infinity there.
        """
        parts = []
        end = min(start + frames, self.frames)
        try:
            self._file.seek(start)
        except soundfile.LibsndfileError as error:
            raise self._damaged(start, _reason(error)) from None
        while start < end:
            parts.append(self._read(start, end - start))
            start += parts[-1].shape[-1]
        return np.concatenate(parts, axis=1)

    def _read(self, position: int, frames: int) -> NDArray[np.float32]:
        """Up to ``frames`` frames from where the file stands, which is ``position``."""
        try:
            block = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise self._damaged(position, _reason(error)) from None
        if not len(block):
            raise self._damaged(position, "the file ends here, its header promises more")
        if not np.isfinite(block).all():
            bad = position + int(np.argmin(np.isfinite(block).all(1)))
            raise AudioFileError(
                f"{self.path} holds NaN or infinite samples at {bad / self.sample_rate:.3f} s; "
                "repair it first"
            )
        return np.ascontiguousarray(block.T)

    def _damaged(self, position: int, reason: str) -> AudioFileError:
        seconds = position / self.sample_rate
        return AudioFileError(f"{self.path} is truncated or damaged at {seconds:.2f} s: {reason}")

    def _check_whole(self) -> None:
        if self.frames <= 0:
            raise AudioFileError(f"{self.path} has no audio in it (its length is zero)")
        for line in self._file.extra_info.splitlines():
            # libsndfile writes, for a data chunk longer than the file: "data : 96 (should be 48)".
            head, separator, tail = line.partition(" (should be ")
            name, _, size = head.rpartition(":")
            if not separator or name.strip() not in ("data", "SSND", "Data Size"):
                continue
            promised, present = size.strip(), tail.rstrip(") ")
            if not (promised.isdigit() and present.isdigit()):
                continue
            if int(present) < int(promised) and int(promised) not in _UNKNOWN_SIZES:
                raise AudioFileError(
                    f"{self.path} is truncated: its header promises {promised} bytes of audio, "
                    f"{present} are there; copy it again"
                )
        if self.format == "OGG" and not _ogg_ends(self.path, self._content):
            raise AudioFileError(
                f"{self.path} is truncated: its last page is missing; copy it again"
            )


class AudioWriter:
    """Writes one sound file under a temporary name; :func:`commit` puts it in place.

    Args:
        path: Where the file will be.
        sample_rate: In Hz.
        channels: Number of channels.
        format: Container, as libsndfile names it.
        subtype: Sample type.
        frames: Expected length, to choose a container that can hold it.

    Raises:
        AudioFileError: The file cannot be created.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        format: str,
        subtype: str,
        frames: int = 0,
    ) -> None:
        self.path = path
        #: Samples beyond full scale that the sample type cut off.
        self.clipped = 0
        #: Largest absolute sample.
        self.peak = 0.0
        self._limited = subtype not in _FLOAT_TYPES and subtype not in _LOSSY_TYPES
        if format in ("WAV", "WAVEX") and frames * channels * 8 > _LARGEST_WAV:
            format = "RF64"
        try:
            handle, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
            os.close(handle)
        except OSError as error:
            raise AudioPathError(
                f"{path.parent} cannot be written to: {error.strerror or error}"
            ) from None
        self._temporary = Path(name)
        try:
            self._file = soundfile.SoundFile(
                self._temporary, "w", sample_rate, channels, subtype=subtype, format=format
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            self._temporary.unlink()
            raise AudioPathError(
                f"{path} cannot be written as {format} {subtype} at {sample_rate} Hz with "
                f"{channels} channels ({error}); choose --format wav"
            ) from None

    def write(self, audio: NDArray[np.float32]) -> None:
        """Append (channels, n).

        Raises:
            AudioFileError: The disk is full or gone.
        """
        if audio.size:
            self.peak = max(self.peak, float(np.abs(audio).max()))
            if self._limited:
                self.clipped += int(np.count_nonzero(np.abs(audio) > 1))
        try:
            self._file.write(audio.T)
            self._file.flush()
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioFileError(f"{self.path} cannot be written: {error}") from None

    def commit(self) -> None:
        """Close the file and give it its name."""
        self._file.close()
        try:
            # mkstemp makes the file private; give it the mode any new file would have.
            mask = os.umask(0)
            os.umask(mask)
            self._temporary.chmod(0o666 & ~mask)
            self._temporary.replace(self.path)
        except OSError as error:
            raise AudioFileError(f"{self.path} cannot be written: {error.strerror}") from None

    def discard(self) -> None:
        """Close and remove what was written so far; does nothing after :meth:`commit`."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def writing(writers: list[AudioWriter]) -> Iterator[None]:
    """Commit all writers at the end, or discard all of them if anything fails."""
    try:
        yield
        for writer in writers:
            writer.commit()
    finally:
        for writer in writers:
            writer.discard()


def remove_partial(path: Path) -> None:
    """Remove what writers that were killed left of a file; no writer may be at work on it."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        partial.unlink(missing_ok=True)


def output_format(reader: AudioReader, format: str | None) -> tuple[str, str]:
    """Container and sample type for what is made of a file.

    Args:
        reader: The input.
        format: A key of :data:`FORMATS`, or None for the input's own.
    """
    return FORMATS[format][:2] if format is not None else (reader.format, reader.subtype)


def output_ending(source: Path, format: str | None) -> str:
    """The ending of what is made of a file, with its dot; ``format`` as above."""
    return FORMATS[format][2] if format is not None else source.suffix


def is_lossy(subtype: str) -> bool:
    """Whether a sample type changes the audio that is written with it."""
    return subtype in _LOSSY_TYPES


def _reason(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip() or f"libsndfile error {error.code}"


def _ogg_ends(path: Path, content: bytes | None) -> bool:
    """Whether the last Ogg page says that its stream ends there (flag 4 of byte 5)."""
    if content is not None:
        tail = content[-(2**17) :]
    else:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2**17))
            tail = file.read()
    page = tail.rfind(b"OggS")
    return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)
