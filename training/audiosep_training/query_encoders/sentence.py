"""The sentence encoder that ships with mini."""

from __future__ import annotations

from audiosep_core.model.installed import DEFAULT_MODEL, open_model
from audiosep_core.query.encoder import bundled_text_encoder
from audiosep_training.query_encoders.base import Embeddings, FrozenEncoder


class SentenceEncoder(FrozenEncoder):
    """all-MiniLM-L6-v2 as the packaged bundle has it; 384 values."""

    def __init__(self) -> None:
        bundle = open_model(DEFAULT_MODEL)
        super().__init__(bundle.encoder_hash, bundle.config.condition_size)
        self._encoder = bundled_text_encoder()

    def _encode_texts(self, texts: list[str]) -> Embeddings:
        return self._encoder.encode(texts)
