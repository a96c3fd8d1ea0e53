"""How LASS-Net is trained, BERT along with it, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch
from audiosep_training.query_encoders.opening import existing
from audiosep_training.systems.lass_net.network import LassNet
from audiosep_training.systems.lass_net.tokens import Tokens, read_word_pieces
from audiosep_training.systems.recipe import Ask, Recipe

_FOLDER = "the folder of BERT-mini"
#: What :func:`open_ask` knows.
OPTIONS = ("text",)
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)


class LassRecipe(Recipe[LassNet]):
    """Captions in, mean absolute error of the magnitude out.

    Args:
        network: With BERT's published weights, or trained ones.
        tokens: BERT's.
        bert: Sizes of BERT, as the network was built with.
    """

    def __init__(self, network: LassNet, tokens: Tokens, bert: dict[str, Any]) -> None:
        super().__init__(network)
        self._tokens = tokens
        self._bert = bert

    def loss(self, batch: Batch) -> Tensor:
        """Of mask times mixture."""
        mixture, target = batch["mixture"][:, 0], batch["target"][:, 0]
        return self.network.loss(mixture, target, self._condition(batch))

    def separate(self, batch: Batch) -> Tensor:
        """What the captions ask for."""
        mixture = batch["mixture"][:, 0]
        return self.network.separate(mixture, self._condition(batch))[:, None]

    def describe(self) -> dict[str, Any]:
        """BERT's sizes and vocabulary."""
        return {"options": {"bert": self._bert}, "vocabulary": self._tokens.vocabulary}

    def _condition(self, batch: Batch) -> Tensor:
        ids, seen = self._tokens.encode(batch["captions"])
        return self.network.embed(ids.to(self.device), seen.to(self.device))


def open_recipe(config: TrainingConfig) -> LassRecipe:
    """The recipe with BERT's published weights.

    Raises:
        UsageError: ``query.checkpoint`` is not set or not there.
        CheckpointError: It holds no BERT.
    """
    folder = existing(config.query.checkpoint, "query.checkpoint", _FOLDER)
    tokens = Tokens(read_word_pieces(folder))
    try:
        published = transformers.BertModel.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} holds no BERT ({str(error).splitlines()[0]}); give {_FOLDER} as "
            "transformers saves it"
        ) from None
    bert = {size: getattr(published.config, size) for size in _SIZES}
    # The first token's own vector is read, not what the pooler makes of it.
    published.pooler = None
    network = LassNet(**{**config.system.options, "bert": bert})
    network.text_embedder.bert_layer.load_state_dict(published.state_dict())
    return LassRecipe(network, tokens, bert)


def open_ask(network: LassNet, stored: Mapping[str, Any], options: Mapping[str, str]) -> Ask:
    """How the network is asked.

    Args:
        network: In evaluation mode.
        stored: What :meth:`LassRecipe.describe` gave, if it is in the checkpoint.
        options: ``text``: BERT's folder, where the checkpoint does not hold its vocabulary.

    Raises:
        CheckpointError: There is no vocabulary.
    """
    if "text" in options:
        tokens = Tokens(read_word_pieces(Path(options["text"])))
    elif "vocabulary" in stored:
        tokens = Tokens(stored["vocabulary"])
    else:
        raise CheckpointError(
            "the released LASS-Net comes without BERT's vocabulary; give the folder with its "
            "vocab.txt, as in --compare 'lass-net=LASSNet.pt(text=bert-mini)'"
        )

    def ask(text: str) -> Tensor:
        return network.embed(*tokens.encode([text]))

    return ask
