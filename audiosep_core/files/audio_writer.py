"""Audio files written whole or not at all, with what the input held beside its sound."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiosep_core.atomic import Partial, replacing
from audiosep_core.errors import AudioFileError, AudioPathError
from audiosep_core.files import ogg
from audiosep_core.files.audio_reader import FLOAT_TYPES, INTEGER_BITS, AudioReader, is_lossy
from audiosep_core.files.kinds import FLAC, WAV, Kind, ending_for
from audiosep_core.files.side_data import Dress, finish
from audiosep_core.files.signals import signals_wait

#: ``--format`` to container and sample type.
FORMATS = {"wav": (WAV, "FLOAT"), "flac": (FLAC, "PCM_24")}
_LARGEST_WAV = 2**32 - 2**16
_NO_DRESS = Dress()


class AudioWriter:
    """Writes one sound file under a temporary name; :func:`writing` puts it in place.

    Args:
        path: Where the file will be.
        sample_rate: In Hz.
        channels: Number of channels.
        format: Container, as libsndfile names it.
        subtype: Sample type.
        frames: Expected length, to choose a container that can hold it.
        speakers: Which speakers the channels are for, as WAVEFORMATEXTENSIBLE has it, if known.
        compression: Of lossy types, 0 (best) to 1; None is libsndfile's choice.
        dressed: What is written around the sound.

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
        *,
        speakers: int | None = None,
        compression: float | None = None,
        dressed: Dress = _NO_DRESS,
    ) -> None:
        self.path = path
        #: Samples beyond full scale that the sample type cut off.
        self.clipped = 0
        #: Largest absolute sample.
        self.peak = 0.0
        #: Bits of a sample, where samples are whole numbers.
        self.integer_bits = INTEGER_BITS.get(subtype)
        self._limited = subtype not in FLOAT_TYPES and not is_lossy(subtype)
        self._speakers = speakers
        is_ordered = format == "OGG" and speakers is not None and channels in ogg.WAV_ORDER
        self._order = np.argsort(ogg.WAV_ORDER[channels]) if is_ordered else None
        self._dressed = dressed
        if format == "WAV" and speakers is not None:
            format = "WAVEX"
        beside = len(dressed.before) + len(dressed.after)
        if format in ("WAV", "WAVEX") and frames * channels * 8 + beside > _LARGEST_WAV:
            format = "RF64"
            self._dressed = dressed = Dress(96, dressed.before, dressed.after)
        self._format = format
        kinds: dict[str, object] = {}
        if compression is not None:
            mode = "CONSTANT" if subtype.startswith("MPEG") else None
            kinds = {"compression_level": compression, "bitrate_mode": mode}
        try:
            self._partial = Partial(path)
        except OSError as error:
            raise AudioPathError(
                f"{path.parent} cannot be written to: {error.strerror or error}"
            ) from None
        try:
            self._sink = _Sink(self._partial.path.open("w+b"), dressed.offset, dressed.before)
            with signals_wait():
                self._file = soundfile.SoundFile(
                    self._sink, "w", sample_rate, channels, subtype=subtype, format=format, **kinds
                )
        except (soundfile.LibsndfileError, ValueError, TypeError) as error:
            self._sink.file.close()
            self._partial.discard()
            raise AudioPathError(
                f"{path} cannot be written as {format} {subtype} at {sample_rate} Hz with "
                f"{channels} channels ({error}); choose --format wav"
            ) from None
        except BaseException:
            self._partial.discard()
            raise

    def write(self, audio: NDArray[np.float32], rounded: NDArray[np.int32] | None = None) -> None:
        """Append (channels, n) float32.

        Args:
            audio: What to append.
            rounded: What to store for it where samples are whole numbers: int32 with full scale
                2**31. Without it libsndfile rounds.

        Raises:
            AudioFileError: The disk is full or gone.
        """
        if audio.size:
            self.peak = max(self.peak, float(np.abs(audio).max()))
            if self._limited:
                self.clipped += int(np.count_nonzero(np.abs(audio) > 1))
        stored = audio if rounded is None else rounded
        if self._order is not None:
            stored = stored[self._order]
        self._try(lambda: self._file.write(stored.T))

    def close(self) -> None:
        """End the file; it still has its temporary name.

        Raises:
            AudioFileError: The disk is full or gone.
        """
        self._try(self._finish)

    def commit(self) -> None:
        """After :meth:`close`, give the file its name."""
        self._try(self._partial.commit)

    def discard(self) -> None:
        """Close and remove what was written so far; does nothing after :meth:`commit`."""
        try:
            if not self._file.closed:
                with signals_wait():
                    self._file.close()
        except soundfile.LibsndfileError:
            pass
        finally:
            # What is left in its buffer finds no more room than the rest did.
            with suppress(OSError):
                self._sink.file.close()
            self._partial.discard()

    def _finish(self) -> None:
        self._file.close()
        self._sink.check()
        file = self._sink.file
        if self._format != "OGG":
            finish(file, self._format, self._dressed, self._speakers)
        elif self._dressed.description:
            with replacing(self._partial.path) as other, other.open("wb") as out:
                ogg.with_comments(file, out, self._dressed.comments, self._dressed.description)
        file.close()

    def _try(self, step: Callable[[], object]) -> None:
        try:
            with signals_wait():
                step()
                self._sink.check()
        except (soundfile.LibsndfileError, AssertionError) as error:
            # Of all that a disk may refuse, libsndfile says "System error", and soundfile nothing.
            reason: object = self._sink.error or error
            raise self._refused(reason) from None
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: object) -> AudioFileError:
        reason = getattr(error, "strerror", None) or error
        return AudioFileError(f"{self.path} cannot be written: {reason}; make room, or try again")


class _Sink(io.RawIOBase):
    """Where libsndfile writes: a file into which something is put that it knows nothing of."""

    def __init__(self, file: BinaryIO, offset: int, before: bytes) -> None:
        self.file = file
        #: What the system said when something could not be written.
        self.error: OSError | None = None
        self._offset = offset
        self._more = len(before)
        self._position = 0
        self._size = 0
        file.seek(offset)
        file.write(before)

    def check(self) -> None:
        """Raise what the system refused since.

        Raises:
            OSError: It could not be written.
        """
        if self.error is None and not self.file.closed:
            self.file.flush()
        if self.error is not None:
            raise self.error

    def write(self, data: object) -> int:
        """Write bytes; returns how many, which is none if it fails."""
        content = bytes(data)  # type: ignore[call-overload]
        head = content[: max(0, self._offset - self._position)]
        try:
            self.file.seek(self._position)
            self.file.write(head)
            if len(content) > len(head):
                self.file.seek(self._position + len(head) + self._more)
                self.file.write(content[len(head) :])
        except OSError as error:
            self.error = self.error or error
            return 0
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def readinto(self, buffer: object) -> int:
        """Fill a buffer with what was written; returns the number of bytes."""
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < min(len(room), self._size - self._position + done):
            is_head = self._position < self._offset
            self.file.seek(self._position + (0 if is_head else self._more))
            most = self._offset - self._position if is_head else len(room)
            piece = self.file.read(min(len(room) - done, most))
            if not piece:
                break
            room[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; returns the new position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._position


@contextmanager
def writing(writers: list[AudioWriter]) -> Iterator[None]:
    """Put all files in place at the end, or remove all of them if anything fails."""
    try:
        yield
        for writer in writers:
            writer.close()
        for writer in writers:
            writer.commit()
    finally:
        for writer in writers:
            writer.discard()


def output_format(reader: AudioReader, format: str | None) -> tuple[str, str]:
    """Container and sample type for what is made of a file, as libsndfile names them.

    Args:
        reader: The input.
        format: A key of :data:`FORMATS`, or None for the input's own.
    """
    if format is not None:
        kind, subtype = FORMATS[format]
        return kind.name, subtype
    subtype = reader.subtype
    if subtype.startswith("MPEG_LAYER"):
        # The other layers can be read only.
        subtype = "MPEG_LAYER_III"
    if not soundfile.check_format(reader.format, subtype):
        subtype = soundfile.default_subtype(reader.format)
    return reader.format, subtype


def output_ending(kind: Kind | None, name: str, format: str | None) -> str:
    """The ending of what is made of a file of that kind and name; ``format`` as above."""
    if format is not None:
        return FORMATS[format][0].endings[0]
    return WAV.endings[0] if kind is None or kind.ffmpeg else ending_for(kind, name)
