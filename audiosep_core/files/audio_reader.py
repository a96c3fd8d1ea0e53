"""Audio files read in blocks: all of what lies in them, whatever their headers say."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, AudioPathError
from audiosep_core.files import ffmpeg, ogg
from audiosep_core.files.inspection import DecodableFile, inspect_file
from audiosep_core.files.kinds import APPLE_DOUBLE, OGG, WAV, Kind, kind_of
from audiosep_core.files.side_data import SideData, read_side_data
from audiosep_core.files.signals import signals_wait
from audiosep_core.files.tags import from_ffmpeg

#: Sample types that are whole numbers, and their bits.
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOAT_TYPES = ("FLOAT", "DOUBLE")
_PARTIAL_FRAMES = 4096
_FULL_SCALE = np.float32(2.0**31)


class AudioReader:
    """A sound file that is known to be whole as far as can be told before it is decoded.

    Use as a context manager.

    Args:
        path: The file.
        content: Its bytes, where they are in memory already; the path is then only its name.
        partial: Take what is left of a damaged file, and tell of it in ``damage``.
        piped_from: What the file is a copy of, for messages: a header that came through a pipe
            was written before its writer knew the length, so that less is no damage.

    Attributes:
        path: The file.
        sample_rate: In Hz.
        channels: Number of channels.
        frames: Length in frames.
        format: Container for what is made of it, as libsndfile names it; WAV where libsndfile
            cannot write the file's own.
        subtype: Sample type, as libsndfile names it.
        lossy: Whether the sound was changed when it was stored.
        bits_per_second: Of a lossy file; 0 if it is not known.
        speakers: Which speakers the channels are for, as WAVEFORMATEXTENSIBLE has it, or None.
        side_data: What the file holds beside its sound.
        note: What is odd about the file, without harm; empty if nothing is.
        damage: With ``partial``, what is wrong with it; empty if nothing is.

    Raises:
        AudioFileError: The file is missing, empty, truncated, or no audio.
    """

    def __init__(
        self,
        path: Path,
        content: bytes | None = None,
        *,
        partial: bool = False,
        piped_from: Path | None = None,
    ) -> None:
        self.path = piped_from or path
        self.damage = ""
        self.frames = 0
        self._fell_back = self._moved = False
        self._place = path
        self._partial = partial
        with ExitStack() as stack:
            file = stack.enter_context(_opened(path, self.path, content))
            kind = _kind(self.path, file)
            self.side_data = read_side_data(file, kind)
            decodable = self._inspected(file, kind, stack)
            if decodable.short and piped_from is not None:
                decodable.note, decodable.damage = decodable.damage, ""
            self._sounds = [
                stack.enter_context(self._sound(part, kind, stack)) for part in decodable.parts
            ]
            self._describe(decodable, kind)
            self._check(decodable)
            self._open = stack.pop_all()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def integer_bits(self) -> int | None:
        """Bits of a sample, where samples are whole numbers."""
        return INTEGER_BITS.get(self.subtype)

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """The audio as (channels, n) float32 with n up to ``frames``.

        Raises:
            AudioFileError: The file is truncated or damaged, or holds NaN or infinity.
        """
        yield from self._blocks(frames, "float32")

    def integer_blocks(self, frames: int) -> Iterator[NDArray[np.int32]]:
        """The audio as (channels, n) int32, full scale 2**31: exact where samples are integers.

        Raises:
            AudioFileError: The file is truncated or damaged.
        """
        yield from self._blocks(frames, "int32")

    def segment(self, start: int, frames: int) -> NDArray[np.float32]:
        """Frames ``start`` to ``start + frames``, or to the end: (channels, n) float32.

        Raises:
            AudioFileError: The file is truncated or damaged, or holds NaN or infinity there.
        """
        end = min(start + frames, self.frames)
        self._moved = True
        parts = [np.empty((self.channels, 0), np.float32)]
        first = 0
        for sound in self._sounds:
            inside = min(end, first + sound.frames) - start
            if start >= first and inside > 0:
                try:
                    with signals_wait():
                        sound.seek(start - first)
                except soundfile.LibsndfileError as error:
                    raise self._damaged(start, _reason(error)) from None
                while inside > 0:
                    block = self._read(sound, start, inside, "float32")
                    if not block.shape[-1]:
                        raise self._damaged(start, "the file ends here, its header promises more")
                    parts.append(block)
                    start += block.shape[-1]
                    inside -= block.shape[-1]
            first += sound.frames
        return np.concatenate(parts, axis=1)

    def _blocks(self, frames: int, dtype: str) -> Iterator[NDArray[Any]]:
        position = 0
        if self._partial:
            # What is decoded along with damage is lost with it.
            frames = min(frames, _PARTIAL_FRAMES)
        for sound in self._sounds:
            if self._moved:
                with signals_wait():
                    sound.seek(0)
            while True:
                try:
                    block = self._read(sound, position, frames, dtype)
                except AudioFileError as error:
                    if not self._partial:
                        raise
                    self.damage = self.damage or str(error).removeprefix(f"{self.path} ")
                    break
                if not block.shape[-1]:
                    break
                position += block.shape[-1]
                yield block
        # What an Ogg decodes to is its length; its clock counts what is cut off at the start.
        if position < self.frames and self.format != OGG.name:
            short = self._damaged(position, "the file ends here, its header promises more")
            if not self._partial:
                raise short
            self.damage = self.damage or str(short).removeprefix(f"{self.path} ")
        self.frames = position
        if not position:
            raise AudioFileError(f"{self.path} {self.damage}; nothing of it can be read")

    def _read(
        self, sound: soundfile.SoundFile, position: int, frames: int, dtype: str
    ) -> NDArray[Any]:
        """Up to ``frames`` frames from where a sound stands, which is ``position``."""
        try:
            with signals_wait():
                block = sound.read(frames, dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:
            raise self._damaged(position, _reason(error)) from None
        if dtype == "float32" and not np.isfinite(block).all():
            bad = position + int(np.argmin(np.isfinite(block).all(1)))
            raise AudioFileError(
                f"{self.path} holds NaN or infinite samples at {bad / self.sample_rate:.3f} s; "
                "repair it first"
            )
        return np.ascontiguousarray(block.T if self._order is None else block.T[self._order])

    def _damaged(self, position: int, reason: str) -> AudioFileError:
        seconds = position / self.sample_rate
        return AudioFileError(
            f"{self.path} is truncated or damaged at {seconds:.2f} s: {reason}; copy it again, or "
            "take what is left with --partial"
        )

    def _inspected(self, file: BinaryIO, kind: Kind | None, stack: ExitStack) -> DecodableFile:
        if kind is not None and kind.ffmpeg:
            return self._decoded(file, kind.name, stack)
        return inspect_file(file, kind)

    def _decoded(self, file: BinaryIO, kind: str, stack: ExitStack) -> DecodableFile:
        """Have ffmpeg decode a file to a WAV that lasts as long as the reader."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="audiosep-")))
        path = self._place
        if isinstance(file, io.BytesIO):
            path = folder / "encoded"
            path.write_bytes(file.getvalue())
        made = ffmpeg.decode_to_wav(path, self.path, folder / "decoded.wav", kind)
        self.side_data = SideData(tags=tuple(from_ffmpeg(made.tags)))
        decodable = inspect_file(stack.enter_context((folder / "decoded.wav").open("rb")), WAV)
        decodable.bits_per_second = made.bits_per_second
        decodable.damage = made.complaint and f"is truncated or damaged: {made.complaint}"
        self.lossy = made.lossy
        return decodable

    def _sound(self, part: Any, kind: Kind | None, stack: ExitStack) -> soundfile.SoundFile:
        part.seek(0)
        try:
            with signals_wait():
                return soundfile.SoundFile(part)
        except soundfile.LibsndfileError as error:
            refused = AudioFileError(
                f"{self.path} is no audio file that can be read: {_reason(error)}"
            )
        try:
            file = part if isinstance(part, io.BytesIO) else self._place.open("rb")
            decodable = self._decoded(file, kind.name if kind else "unknown", stack)
            decodable.parts[0].seek(0)
            self._fell_back = True
            with signals_wait():
                return soundfile.SoundFile(decodable.parts[0])
        except (AudioFileError, OSError, soundfile.LibsndfileError):
            raise refused from None

    def _describe(self, decodable: DecodableFile, kind: Kind | None) -> None:
        first = self._sounds[0]
        self.sample_rate: int = first.samplerate
        self.channels: int = first.channels
        self.frames = sum(sound.frames for sound in self._sounds)
        self.subtype: str = first.subtype
        self.format: str = first.format
        if kind is None or kind.ffmpeg:
            self.format = WAV.name
        elif self._fell_back:
            self.format = kind.name
        self.speakers = decodable.speakers
        # ffmpeg puts them in order itself.
        is_ordered = self.format == OGG.name and self.speakers is not None and not self._fell_back
        self._order = list(ogg.WAV_ORDER[self.channels]) if is_ordered else None
        self.note = decodable.note
        self.bits_per_second = decodable.bits_per_second
        if not hasattr(self, "lossy"):
            self.lossy = is_lossy(self.subtype)

    def _check(self, decodable: DecodableFile) -> None:
        for sound in self._sounds:
            if (sound.samplerate, sound.channels) != (self.sample_rate, self.channels):
                raise AudioFileError(
                    f"{self.path} is made of streams of different rates or channels, one after "
                    "the other; convert it to WAV first"
                )
        if decodable.damage and not self._partial:
            raise AudioFileError(
                f"{self.path} {decodable.damage}; copy it again, or take what is left with "
                "--partial"
            )
        self.damage = decodable.damage
        if self.frames <= 0:
            raise AudioFileError(f"{self.path} has no audio in it (its length is zero)")


def as_float(block: NDArray[np.int32] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Integers with full scale 2**31 as floating point in −1…1; what is so already, as it is."""
    if block.dtype == np.float32:
        return block.astype(np.float32, copy=False)
    return block.astype(np.float32) / _FULL_SCALE


def is_lossy(subtype: str) -> bool:
    """Whether a sample type changes the audio that is written with it."""
    return subtype not in INTEGER_BITS and subtype not in FLOAT_TYPES and "ALAC" not in subtype


def _opened(path: Path, shown: Path, content: bytes | None) -> BinaryIO:
    if content is None and path.is_dir():
        raise AudioPathError(f"{shown} is a folder, not an audio file")
    try:
        size = path.stat().st_size if content is None else len(content)
        if not size:
            raise AudioFileError(f"{shown} is an empty file; copy it again")
        return path.open("rb") if content is None else io.BytesIO(content)
    except FileNotFoundError:
        raise AudioPathError(f"{shown} does not exist; check the path") from None
    except OSError as error:
        raise AudioFileError(f"{shown} cannot be opened: {error.strerror or error}") from None


def _kind(path: Path, file: BinaryIO) -> Kind | None:
    kind = kind_of(file)
    file.seek(0)
    if kind is None and file.read(4) == APPLE_DOUBLE:
        raise AudioFileError(
            f"{path} is no audio file but what macOS notes about one (AppleDouble); give the file "
            "without '._' in its name"
        )
    file.seek(0)
    return kind


def _reason(error: soundfile.LibsndfileError) -> str:
    return error.error_string.strip() or f"libsndfile error {error.code}"
