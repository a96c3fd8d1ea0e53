"""Which frozen encoder a configuration asks for."""

from __future__ import annotations

from pathlib import Path

from audiosep_core.errors import UsageError
from audiosep_core.extras import needed_for
from audiosep_training.config.schema import QueryConfig
from audiosep_training.query_encoders.base import FrozenEncoder


def open_encoder(config: QueryConfig) -> FrozenEncoder:
    """The frozen encoder that a configuration names.

    Raises:
        UsageError: Its weights are not given or not there, or a package is missing.
        CheckpointError: They are another encoder's.
    """
    with needed_for(f"the query encoder {config.encoder!r}", "export,train"):
        if config.encoder == "sentence":
            from audiosep_training.query_encoders.sentence import SentenceEncoder

            return SentenceEncoder()
        if config.encoder == "clap":
            from audiosep_training.query_encoders.clap import ClapEncoder

            path = existing(config.checkpoint, "query.checkpoint", "laion-clap's checkpoint")
            folder = existing(config.vocabulary, "query.vocabulary", "vocab.json and merges.txt")
            return ClapEncoder(path, folder, sounds=config.text_ratio < 1)
        from audiosep_training.query_encoders.clip import ClipEncoder

        return ClipEncoder(existing(config.checkpoint, "query.checkpoint", "CLIP's folder"))


def existing(path: str, field: str, what: str) -> Path:
    """The path in a field, which has to be there.

    Raises:
        UsageError: It is not.
    """
    if not path:
        raise UsageError(f"{field} is not set; give {what} with --set {field}=PATH")
    if not Path(path).exists():
        raise UsageError(f"{field}: {path} does not exist; give {what} with --set {field}=PATH")
    return Path(path)
