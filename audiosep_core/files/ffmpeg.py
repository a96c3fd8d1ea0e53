"""What libsndfile cannot read, decoded by ffmpeg where that is installed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from audiosep_core.errors import AudioFileError

# Sample formats of ffmpeg that are whole numbers, and the type in WAV that holds them exactly.
_INTEGERS = {"u8": "pcm_u8", "s16": "pcm_s16le", "s16p": "pcm_s16le"}
_LOSSLESS = ("flac", "alac", "wavpack", "ape", "tta", "tak", "mlp", "truehd", "shorten", "als")


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What ffmpeg made of a file.

    Attributes:
        lossy: Whether the codec changed the sound.
        bits_per_second: Of the encoded sound; 0 if it is not told.
        complaint: What ffmpeg said while it decoded; empty if all was well.
        tags: Tag in lower case to value.
    """

    lossy: bool
    bits_per_second: int
    complaint: str
    tags: dict[str, str]


def decode_to_wav(path: Path, shown: Path, wav: Path, kind: str) -> Decoded:
    """Decode the first sound of a file to a WAV, RF64 beyond 4 GiB.

    Args:
        path: What to decode.
        shown: Its name in messages.
        wav: Where to write.
        kind: What the file is, for messages.

    Raises:
        AudioFileError: ffmpeg is not installed, or finds no sound.
    """
    program, prober = shutil.which("ffmpeg"), shutil.which("ffprobe")
    if program is None or prober is None:
        raise AudioFileError(
            f"{shown} is {kind}, which needs ffmpeg to be read, and ffmpeg is not installed; "
            "install it (Debian: apt install ffmpeg; macOS: brew install ffmpeg; Windows: winget "
            "install ffmpeg), or convert the file to WAV or FLAC"
        )
    source = f"file:{path}"
    fields = "stream=codec_name,sample_fmt,bits_per_raw_sample,bit_rate:stream_tags:format_tags"
    asked = ["-v", "error", "-select_streams", "a:0", "-show_entries", fields, "-of", "json"]
    probe = _run([prober, *asked, source])
    try:
        probed: dict[str, Any] = json.loads(probe.stdout)
        stream = probed["streams"][0]
    except (ValueError, LookupError):
        reason = _last_line(probe.stderr) or "ffmpeg finds no sound in it"
        raise AudioFileError(f"{shown} is no audio file that can be read: {reason}") from None
    codec = str(stream.get("codec_name", ""))
    lossless = codec in _LOSSLESS or codec.startswith(("pcm_", "dsd_"))
    sample_type = "pcm_f32le"
    if lossless:
        sample_type = _INTEGERS.get(stream.get("sample_fmt", ""), sample_type)
        if str(stream.get("sample_fmt", "")).startswith("s32"):
            narrow = str(stream.get("bits_per_raw_sample")) == "24"
            sample_type = "pcm_s24le" if narrow else "pcm_s32le"
    line = [program, "-v", "error", "-nostdin", "-y", "-i", source, "-map", "0:a:0", "-vn"]
    done = _run([*line, "-c:a", sample_type, "-rf64", "auto", "-f", "wav", str(wav)])
    if not wav.is_file() or not wav.stat().st_size:
        raise AudioFileError(
            f"{shown} cannot be decoded by ffmpeg: {_last_line(done.stderr) or 'it says nothing'}"
        )
    tags = {**probed.get("format", {}).get("tags", {}), **stream.get("tags", {})}
    rate = str(stream.get("bit_rate", ""))
    return Decoded(
        lossy=not lossless,
        bits_per_second=int(rate) if rate.isdigit() else 0,
        complaint=_last_line(done.stderr) if done.stderr.strip() or done.returncode else "",
        tags={str(name).lower(): str(value) for name, value in tags.items()},
    )


def _run(line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
