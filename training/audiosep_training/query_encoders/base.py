"""What every query encoder does, with a cache on disk in front of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiosep_core.errors import UsageError
from audiosep_core.model.bundle import cache_folder
from audiosep_core.query.store import EmbeddingStore

Embeddings = NDArray[np.float32]
#: Pictures of a video at 1 s: (frames, size, size, 3), red, green and blue.
Frames = NDArray[np.uint8]
#: Embeddings that are kept in memory, 128 MiB of 512 numbers each; all are kept on disk.
_MOST_RECENT = 1 << 16


class FrozenEncoder:
    """A frozen encoder; texts and videos are encoded once, whatever the number of epochs.

    Subclasses encode; this class remembers. Embeddings are float32 of unit length. A sound is
    a new random piece each time, so those are not remembered.

    Args:
        identity: Tells encoders with different weights apart.
        size: Length of an embedding.
    """

    def __init__(self, identity: str, size: int) -> None:
        self.size = size
        self.device = torch.device("cpu")
        self._store = EmbeddingStore(cache_folder() / "training" / "queries.sqlite", identity)
        # Those used for longest not come first.
        self._recent: dict[str, Embeddings] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenEncoder:
        # A running average of weights copies the module that holds this; nothing here is trained.
        return self

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """(texts, size)."""
        keys = [f"text\0{text}" for text in texts]
        return self._remembered(keys, lambda rows: self._encode_texts([texts[r] for r in rows]))

    def embed_videos(self, videos: Sequence[Path | Frames]) -> Embeddings:
        """(videos, size): each the mean over its frames, one a second.

        Raises:
            AudioFileError: One cannot be read.
            UsageError: The encoder knows no videos.
        """
        keys = [_video_key(video) for video in videos]
        return self._remembered(keys, lambda rows: self._encode_videos([videos[r] for r in rows]))

    def embed_queries(self, captions: Sequence[str], videos: Sequence[str | Tensor]) -> Embeddings:
        """(captions, size): of the video where there is one, else of the caption.

        Args:
            captions: Texts.
            videos: For each a path, or frames as :data:`Frames`; "" for none.
        """
        rows = self.embed_texts(captions)
        for row, video in enumerate(videos):
            if isinstance(video, Tensor):
                rows[row] = self.embed_videos([video.cpu().numpy()])[0]
            elif video:
                rows[row] = self.embed_videos([Path(video)])[0]
        return rows

    def embed_sounds(self, audio: Tensor, sample_rate: int) -> Tensor:
        """(sounds, samples) float32 to (sounds, size), on the device of the sounds.

        Raises:
            UsageError: The encoder knows no sounds.
        """
        raise self._cannot("sounds", "set query.text_ratio = 1, or use the encoder 'clap'")

    def _encode_texts(self, texts: list[str]) -> Embeddings:
        raise NotImplementedError

    def _encode_videos(self, videos: list[Path | Frames]) -> Embeddings:
        raise self._cannot("videos", "set query.video_ratio = 0, or use the encoder 'clip'")

    def _cannot(self, what: str, remedy: str) -> UsageError:
        return UsageError(f"the query encoder {type(self).__name__} knows no {what}; {remedy}")

    def _remembered(self, keys: list[str], encode: Callable[[list[int]], Embeddings]) -> Embeddings:
        found = {key: self._recent.pop(key) for key in set(keys) & self._recent.keys()}
        found.update(self._store.get([key for key in keys if key not in found]))
        rows = {key: row for row, key in enumerate(keys) if key not in found}
        if rows:
            fresh = dict(zip(rows, encode(list(rows.values())), strict=True))
            self._store.put(fresh)
            found.update(fresh)
        self._recent.update(found)
        for key in list(self._recent)[: max(0, len(self._recent) - _MOST_RECENT)]:
            del self._recent[key]
        return np.stack([found[key] for key in keys])


def _video_key(video: Path | Frames) -> str:
    """Tells videos apart; a file by its name, size and time, since to read it all takes long."""
    if isinstance(video, Path):
        status = video.stat() if video.is_file() else None
        stamp = (status.st_size, status.st_mtime_ns) if status else ()
        return f"video\0{video.resolve()}\0{stamp}"
    return f"frames\0{hashlib.sha256(np.ascontiguousarray(video).tobytes()).hexdigest()}"
