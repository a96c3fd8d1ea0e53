"""A bundle: the folder (or one zip of it) that export writes and every runtime reads.

``model.json`` describes the network and lists the other files with their SHA-256;
``separator.onnx`` maps magnitudes and a condition to a mask (of a streaming network: magnitudes,
what ``condition.onnx`` makes of a condition, and the state to a mask and the next state);
``text_encoder.onnx`` and ``tokenizer.json`` turn a query into a condition, ``audio_encoder.onnx``
and ``image_encoder.onnx``, where a model has them, a sound or pictures;
``queries.safetensors`` holds conditions computed beforehand; ``report.json`` is the evidence that
the graphs compute what the network computes; ``waveform.onnx``, where there is one, is the whole
model for one fixed length. Models that ship share what concerns words: a file that a bundle lists
and does not hold is looked for in the folder ``text_encoder`` beside it, and in the package.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from audiosep_core.atomic import replacing_folder
from audiosep_core.errors import BundleError, UnknownModelError
from audiosep_core.model.config import NetworkConfig, network_config
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.plain import Reading, from_plain

FORMAT_VERSION = 1
DESCRIPTION = "model.json"
SEPARATOR = "separator.onnx"
CONDITION = "condition.onnx"
TEXT_ENCODER = "text_encoder.onnx"
TOKENIZER = "tokenizer.json"
AUDIO_ENCODER = "audio_encoder.onnx"
IMAGE_ENCODER = "image_encoder.onnx"
QUERIES = "queries.safetensors"
WAVEFORM = "waveform.onnx"
REPORT = "report.json"
#: Folder of the files that bundles beside it share.
SHARED = "text_encoder"
#: Where the models that ship lie.
PACKAGED = Path(__file__).parents[1] / "models"


@dataclasses.dataclass(frozen=True)
class Description:
    """What ``model.json`` holds; fields as in :class:`Bundle`."""

    format_version: int
    network: dict[str, Any]
    files: dict[str, str]
    licence: str
    provenance: str
    context_seconds: float


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle whose files are present and whole.

    Attributes:
        folder: Where the files are.
        config: The network and its STFT.
        hashes: File name to SHA-256, without ``model.json``.
        licence: SPDX expression of the weights.
        provenance: Where the weights come from, in a sentence or two.
        context_seconds: Sound to either side of a window that its mask is computed with.
    """

    folder: Path
    config: NetworkConfig
    hashes: dict[str, str]
    licence: str
    provenance: str
    context_seconds: float

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.name

    @property
    def encoder_hash(self) -> str:
        """Identifies the text encoder: embeddings of another one do not fit this model."""
        return encoder_hash(self.hashes)

    @property
    def model_hash(self) -> str:
        """Identifies the separator: FiLM vectors of another one do not fit this model."""
        return self.hashes.get(SEPARATOR, "")

    def path(self, file: str) -> Path:
        """Path of one of the bundle's files: its own, or one that it shares."""
        own = self.folder / file
        if file in self.hashes and not own.exists():
            for models in (self.folder.parent, PACKAGED):
                shared = models / SHARED / file
                if shared.is_file():
                    return shared
        return own

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Bundle:
        """Open a bundle.

        Args:
            path: A folder, or a ``.zip`` of one (unpacked once into the user's cache).
            verify: Compare every file with its hash (about 20 ms for ``mini``).

        Raises:
            UnknownModelError: There is no bundle.
            BundleError: The bundle is damaged, or of a newer format.
        """
        path = Path(path)
        if path.is_file() and zipfile.is_zipfile(path):
            path = _unpack(path)
        description = path / DESCRIPTION
        try:
            values = json.loads(description.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownModelError(
                f"{path} is not a model bundle: it has no {DESCRIPTION}; "
                "give the folder or .zip that 'audiosep export' wrote"
            ) from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{description} cannot be read ({error}); export it again") from None
        bundle = cls._from_description(path, values)
        if verify:
            bundle.verify()
        return bundle

    @classmethod
    def _from_description(cls, folder: Path, values: Any) -> Bundle:
        version = values.get("format_version") if isinstance(values, dict) else None
        # Of a later format nothing else is known.
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise BundleError(
                f"{folder} has bundle format {version}, this version of audiosep reads up to "
                f"{FORMAT_VERSION}; update audiosep"
            )
        try:
            described = from_plain(Description, values, reading=Reading(ignore_unknown=True))
            return cls(
                folder=folder,
                config=network_config(described.network),
                hashes=described.files,
                licence=described.licence,
                provenance=described.provenance,
                context_seconds=described.context_seconds,
            )
        except ValueError as error:
            raise BundleError(
                f"{folder / DESCRIPTION} is damaged ({error}); export the bundle again"
            ) from None

    def verify(self) -> None:
        """Compare every file with the hash that ``model.json`` gives.

        Raises:
            BundleError: A file is missing or differs.
        """
        for file, expected in self.hashes.items():
            try:
                found = sha256(self.path(file))
            except OSError:
                raise BundleError(
                    f"the bundle {self.folder} lacks {file}; copy or export it again"
                ) from None
            if found != expected:
                raise BundleError(
                    f"{self.path(file)} is damaged (its SHA-256 does not match {DESCRIPTION}); "
                    "copy or export the bundle again"
                )

    def report(self) -> dict[str, Any]:
        """The content of ``report.json``; empty for a bundle without one.

        Raises:
            BundleError: It cannot be read.
        """
        if REPORT not in self.hashes:
            return {}
        try:
            return dict(json.loads(self.path(REPORT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(
                f"{self.path(REPORT)} cannot be read ({error}); export the bundle again"
            ) from None

    def describe(self) -> dict[str, Any]:
        """The content of ``model.json``."""
        config = self.config
        if isinstance(config, StreamingConfig):
            timing: dict[str, Any] = {
                "step_frames": config.step_frames,
                "look_ahead_seconds": round(config.look_ahead / config.frame_rate, 4),
            }
        else:
            timing = {
                "frame_multiple": config.frame_multiple,
                "receptive_field_seconds": round(config.receptive_seconds, 3),
            }
        return {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "network": config.to_dict(),
            **timing,
            "context_seconds": self.context_seconds,
            "licence": self.licence,
            "provenance": self.provenance,
            "files": self.hashes,
        }


def encoder_hash(hashes: dict[str, str]) -> str:
    """One hash for the text encoder and its tokenizer."""
    parts = hashes.get(TEXT_ENCODER, "") + hashes.get(TOKENIZER, "")
    return hashlib.sha256(parts.encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cache_folder() -> Path:
    """The user's cache folder: ``AUDIOSEP_CACHE`` if set, else the platform's."""
    chosen = os.environ.get("AUDIOSEP_CACHE")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("audiosep", appauthor=False)


def _unpack(archive: Path) -> Path:
    target = cache_folder() / "bundles" / sha256(archive)[:16]
    if (target / DESCRIPTION).exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as file, replacing_folder(target) as folder:
            file.extractall(folder)
            inner = [entry for entry in folder.iterdir() if entry.is_dir()]
            if not (folder / DESCRIPTION).exists() and len(inner) == 1:
                for entry in inner[0].iterdir():
                    entry.rename(folder / entry.name)
                inner[0].rmdir()
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"{archive} cannot be unpacked into {target.parent}: {error}") from None
    return target
