"""Query embeddings for training: every phrasing of every class, encoded once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.query.encoder import bundled_text_encoder
from audiosep_training.corpus.store import Corpus

_TEMPLATES = ("{}", "the sound of {}", "{} sound", "{} in the background")
#: Spread of the noise added to an embedding's components (their own spread is 0.05).
_NOISE = 0.01


class PhraseBook:
    """Embeddings of a corpus' phrases, made with the text encoder that ships."""

    def __init__(self, corpus: Corpus) -> None:
        encoder = bundled_text_encoder()
        self._embeddings: dict[str, NDArray[np.float32]] = {}
        for label in sorted({clip.label for clip in corpus.clips}):
            phrases = corpus.phrases(label)
            texts = [template.format(phrase) for phrase in phrases for template in _TEMPLATES]
            self._embeddings[label] = encoder.encode(texts)

    def draw(self, label: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """A phrasing of a class, with a little noise: (condition_size,) of unit length."""
        choices = self._embeddings[label]
        # Half of the draws are a bare phrase (the first of each group of templates).
        index = rng.integers(len(choices))
        if rng.random() < 0.5:
            index -= index % len(_TEMPLATES)
        noise = rng.standard_normal(choices.shape[1], np.float32) * np.float32(_NOISE)
        noisy: NDArray[np.float32] = choices[index] + noise
        return noisy / np.linalg.norm(noisy)
