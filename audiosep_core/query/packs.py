"""Query packs: what was computed of some queries beforehand, for one model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.atomic import replacing
from audiosep_core.errors import BundleError, UsageError
from audiosep_core.query.text import query_key

_FILM = "film/"


class QueryPack:
    """What was computed beforehand for some queries, stored as safetensors.

    The tensor ``embeddings`` is (queries, condition_size). Beside it, ``film/NAME`` is
    (queries, channels): the value NAME of the model's ``separator.onnx``, one of those that
    depend on the query alone, flattened. The released model reads 8,256 such numbers a query; its
    checkpoint has 1,600 more that its forward pass ignores. The metadata holds the texts as JSON
    (``queries``) and the hashes of the text encoder (``encoder``) and, except in a bundle's own
    pack, of the separator (``model``).

    Args:
        queries: The texts.
        embeddings: (queries, condition_size) float32 of unit length.
        encoder_hash: Of the text encoder that made them.
        model_hash: Of the separator that the pack is for; empty in a bundle's own pack.
        film: Name of a value to (queries, channels) float32.
    """

    def __init__(
        self,
        queries: Sequence[str],
        embeddings: NDArray[np.float32],
        encoder_hash: str,
        model_hash: str = "",
        film: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self.queries = list(queries)
        self.embeddings = embeddings
        self.encoder_hash = encoder_hash
        self.model_hash = model_hash
        self.film = dict(film or {})
        self._rows = {query_key(query): row for row, query in enumerate(self.queries)}

    def get(self, query: str) -> NDArray[np.float32] | None:
        """The embedding of a query, however it is spelled, or None."""
        row = self._rows.get(query_key(query))
        return None if row is None else self.embeddings[row]

    def save(self, path: Path) -> None:
        """Write as safetensors; a file that is there is replaced as a whole.

        Raises:
            UsageError: The file cannot be written.
        """
        from safetensors.numpy import save

        metadata = {
            "queries": json.dumps(self.queries, ensure_ascii=False),
            "encoder": self.encoder_hash,
            "model": self.model_hash,
        }
        film = {f"{_FILM}{name}": values for name, values in self.film.items()}
        try:
            with replacing(path) as partial:
                partial.write_bytes(save({"embeddings": self.embeddings, **film}, metadata))
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}); choose another place"
            ) from None

    @classmethod
    def load(cls, path: Path, encoder_hash: str, model_hash: str = "") -> QueryPack:
        """Read a pack made with the text encoder of that hash.

        Args:
            path: The file.
            encoder_hash: Of the text encoder at hand.
            model_hash: Of the separator at hand; empty takes a pack of any.

        Raises:
            BundleError: The file is damaged, or was made with another encoder or model.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            embeddings = tensors.pop("embeddings")
            queries = json.loads(metadata["queries"])
            made_with = metadata["encoder"]
            made_for = metadata.get("model", "")
            damage = _damage(queries, embeddings, tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            damage = str(error)
        if damage:
            raise BundleError(f"the query pack {path} is damaged ({damage}); make it again")
        if made_with != encoder_hash:
            raise BundleError(
                f"the query pack {path} was made with another text encoder; make it again for "
                "this model"
            )
        if model_hash and made_for != model_hash:
            raise BundleError(
                f"the query pack {path} was made for another model; make it again for this one "
                "with 'audiosep queries pack'"
            )
        film = {name.removeprefix(_FILM): values for name, values in tensors.items()}
        return cls(queries, embeddings.astype(np.float32), made_with, made_for, film)


def _damage(
    queries: object, embeddings: NDArray[np.float32], film: Mapping[str, NDArray[np.float32]]
) -> str:
    """What is wrong with the content of a pack, or nothing."""
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        return "its queries are no list of texts"
    arrays = [embeddings, *film.values()]
    if any(array.ndim != 2 or len(array) != len(queries) for array in arrays):
        return "its sizes disagree"
    if not all(np.isfinite(array).all() for array in arrays):
        return "it holds NaN or infinity"
    return ""
