"""Released models on the Hugging Face hub: where their files lie, and fetching them once."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from audiosep_core.errors import AudioSepError, UsageError
from audiosep_core.extras import needed_for
from audiosep_core.model.bundle import cache_folder, sha256


class DownloadError(AudioSepError):
    """A file cannot be fetched, or is not the one that was published."""


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """One file on the hub, at one commit.

    Attributes:
        repository: Owner and name.
        path: Path inside the repository.
        revision: Commit.
        sha256: Of the content.
        kind: Kind of repository.
    """

    repository: str
    path: str
    revision: str
    sha256: str
    kind: Literal["model", "space"] = "model"

    @property
    def local(self) -> Path:
        """Where the file lies once it is fetched, or where to place it by hand."""
        folder = self.repository.partition("/")[2]
        return cache_folder() / "downloads" / folder / self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class ReleasedModel:
    """A released model.

    Attributes:
        checkpoint: Weights of the separator and, as released, of its text encoder.
        config: Name of the separator's configuration.
        licence: SPDX expression of separator, text encoder and vocabulary.
        provenance: Where the weights come from.
    """

    checkpoint: RemoteFile
    config: str
    licence: str
    provenance: str


RELEASED_MODELS = {
    "audiosep-base": ReleasedModel(
        RemoteFile(
            "Audio-AGI/AudioSep",
            "checkpoint/audiosep_base_4M_steps.ckpt",
            "5638854dccfaea5c5fa4f634c00fe74fbb119244",
            "f8cda01bfd0ebd141eef45d41db7a3ada23a56568465840d3cff04b8010ce82c",
            "space",
        ),
        config="audiosep-base",
        licence="MIT AND CC0-1.0",
        provenance=(
            "AudioSep by Liu et al. (arXiv 2308.05037), checkpoint audiosep_base_4M_steps; text "
            "branch of CLAP by LAION; vocabulary of RoBERTa by Meta AI. The page that publishes "
            "the checkpoint (huggingface.co/spaces/Audio-AGI/AudioSep) states MIT, without a "
            "word on the weights in particular: see the authors' page."
        ),
    ),
    # Published as ShandaAI/AudioSep-hive; the repository has moved since, with its files as they
    # were.
    "audiosep-hive": ReleasedModel(
        RemoteFile(
            "AlayaLab/AudioSep-hive",
            "audiosep_hive.ckpt",
            "113d2e4399a4f19b6a0d567bbde38f2fe1b11794",
            "a13fff5fa4ece1a8bc13e42e1c7b8d90e21603075302ca89e4339c9471973300",
        ),
        config="audiosep-base",
        licence="Apache-2.0 AND CC0-1.0 AND MIT",
        provenance=(
            "AudioSep trained anew on Hive, checkpoint audiosep_hive; text branch of CLAP by "
            "LAION; vocabulary of RoBERTa by Meta AI."
        ),
    ),
}
#: The text encoder by itself, for a checkpoint that lacks it.
CLAP = RemoteFile(
    "lukewys/laion_clap",
    "music_speech_audioset_epoch_15_esc_89.98.pt",
    "b3708341862f581175dba5c356a4ebf74a9b6651",
    "51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006",
)
_ROBERTA = "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b"
VOCABULARY = RemoteFile(
    _ROBERTA[0],
    "vocab.json",
    _ROBERTA[1],
    "9e7f63c2d15d666b52e21d250d2e513b87c9b713cfa6987a82ed89e5e6e50655",
)
MERGES = RemoteFile(
    _ROBERTA[0],
    "merges.txt",
    _ROBERTA[1],
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
)


def released_model(name: str) -> ReleasedModel:
    """The released model of that name.

    Raises:
        UsageError: There is none.
    """
    try:
        return RELEASED_MODELS[name]
    except KeyError:
        raise UsageError(
            f"no released model is called {name!r}; known: {', '.join(RELEASED_MODELS)}"
        ) from None


def download(files: Sequence[RemoteFile]) -> list[Path]:
    """Paths of files in the user's cache; what is missing there is downloaded first.

    A download that breaks off goes on where it stopped; after a call that failed, the next one goes
    on or begins anew, as the version of huggingface_hub has it. Files that are there, placed by
    hand or fetched before, need no network. ``HF_ENDPOINT`` names another hub.

    Raises:
        DownloadError: A file is missing and cannot be downloaded, or is not what was published.
    """
    missing = [file for file in files if not file.local.is_file()]
    for file in missing:
        try:
            _download(file)
        except DownloadError as error:
            wanted = [file for file in missing if not file.local.is_file()]
            places = "; ".join(f"{file.local} (SHA-256 {file.sha256})" for file in wanted)
            raise DownloadError(f"{error}; try again, or place by hand: {places}") from None
    for file in files:
        if file not in missing and sha256(file.local) != file.sha256:
            raise DownloadError(
                f"{file.local} is not the file that was published (its SHA-256 is not "
                f"{file.sha256}); remove it and run the command again"
            )
    return [file.local for file in files]


def _download(file: RemoteFile) -> None:
    """Fetch one file into a folder beside its place; it gets its name when it is whole."""
    with needed_for("a download", "export"):
        import huggingface_hub
    name = file.local.name
    # Named by its content: a part of another version is never continued.
    folder = file.local.with_name(f".{name}.{file.sha256[:12]}.part")
    options: Any = {"repo_type": file.kind, "revision": file.revision}
    options["endpoint"] = os.environ.get("HF_ENDPOINT") or None
    url = huggingface_hub.hf_hub_url(file.repository, file.path, **options)
    try:
        # The files are public: no token leaves the machine.
        metadata = huggingface_hub.get_hf_file_metadata(url, token=False)
        _check_offer(file, metadata, url)
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, metadata.size)
        whole = Path(
            huggingface_hub.hf_hub_download(
                file.repository, file.path, **options, local_dir=folder, token=False
            )
        )
        found = sha256(whole)
        if found == file.sha256:
            whole.replace(file.local)
    except DownloadError:
        raise
    # The hub's HTTP library is another one in each of its major versions, and so are its errors.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DownloadError(f"{name} cannot be downloaded from {url} ({reason})") from None
    shutil.rmtree(folder, ignore_errors=True)
    if found != file.sha256:
        raise DownloadError(
            f"{name} from {url} is not the file that was published (its SHA-256 is not "
            f"{file.sha256}); it was removed"
        )


def _check_offer(file: RemoteFile, metadata: Any, url: str) -> None:
    """Refuse another file before it is downloaded: the hub tells the SHA-256 of large ones."""
    offered = metadata.etag or ""
    if re.fullmatch("[0-9a-f]{64}", offered) and offered != file.sha256:
        raise DownloadError(
            f"{url} now holds another file than the one that was published (its SHA-256 is "
            f"{offered}, not {file.sha256})"
        )


def _check_space(folder: Path, size: int | None) -> None:
    have = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    wanted = (size or 0) - have
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise DownloadError(
            f"{folder.parent} has {free / 1e9:.1f} GB left, the download needs "
            f"{wanted / 1e9:.1f} GB; make room, or set AUDIOSEP_CACHE to a folder on another disk"
        )
