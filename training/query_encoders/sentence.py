"""The sentence encoder that ships with mini."""

from __future__ import annotations

from audiosep_core.models import DEFAULT_MODEL, bundled_text_encoder, open_model
from training.query_encoders.base import Embeddings, QueryEncoder


class SentenceEncoder(QueryEncoder):
    """all-MiniLM-L6-v2 as the packaged bundle has it; 384 values."""

    def __init__(self) -> None:
        bundle = open_model(DEFAULT_MODEL)
        super().__init__(bundle.encoder_hash, bundle.config.condition_size)
        self._encoder = bundled_text_encoder()

    def _encode_texts(self, texts: list[str]) -> Embeddings:
        return self._encoder.encode(texts)
