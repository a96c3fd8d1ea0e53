"""Pictures of a video, by ffmpeg, for queries that show a sound instead of naming it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError

#: Endings of the containers that videos come in.
VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi")


def read_frames(path: Path, size: int) -> NDArray[np.uint8]:
    """Pictures of a video at 1 s, or a picture; the middle square of each.

    Args:
        path: What ffmpeg reads.
        size: Height and width wanted, in pixels; the shorter side is scaled to it.

    Returns:
        (frames, size, size, 3), red, green and blue.

    Raises:
        AudioFileError: ffmpeg is missing, or cannot read the file.
    """
    shape = f"scale={size}:{size}:force_original_aspect_ratio=increase:flags=bicubic"
    shape = f"{shape},crop={size}:{size}"
    done = _run(path, ["-vf", f"fps=1,{shape}"])
    if not done.returncode and not done.stdout:
        # A picture, or a video of less than half a second.
        done = _run(path, ["-vf", shape, "-frames:v", "1"])
    frames = np.frombuffer(done.stdout, np.uint8)
    if done.returncode or not frames.size:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise AudioFileError(
            f"{path} cannot be read as a video ({''.join(reason) or 'it has no pictures'})"
        )
    return frames.reshape(-1, size, size, 3).copy()


def _run(path: Path, options: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"file:{path}", "-an", *options]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    try:
        return subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise AudioFileError(
            f"{path} is shown by ffmpeg, which is not installed; install it (Debian: apt install "
            "ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg)"
        ) from None
