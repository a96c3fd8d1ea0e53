"""CLAP's text branch, RoBERTa and a projection, as ``text_encoder.onnx``.

It conditions the released AudioSep (Liu et al. 2023, section III-A; laion-clap's checkpoint
``music_speech_audioset_epoch_15_esc_89.98.pt``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import transformers
from torch import Tensor

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_export.text.bpe_tokenizer import roberta_tokenizer
from audiosep_export.text.text_graph import TextGraph
from audiosep_export.text.tower import TextTower, arrays, write_text_tower

#: RoBERTa-base's; the weights alone do not tell.
HEADS = 12
_EPSILON = 1e-5
_PADDING = 1
_END = 2
_RENAMED = {
    "text_branch.": "text_model.",
    "text_projection.0.": "text_projection.linear1.",
    "text_projection.2.": "text_projection.linear2.",
}
# Not learned; transformers makes them itself.
_COMPUTED = ("text_branch.embeddings.position_ids", "text_branch.embeddings.token_type_ids")
_NOTICE = """\
text_encoder.onnx holds the text branch of CLAP by LAION (https://github.com/LAION-AI/CLAP,
CC0-1.0), tokenizer.json the vocabulary of RoBERTa by Meta AI
(https://huggingface.co/FacebookAI/roberta-base, MIT).

Changes: matrices were rounded to half precision, and the branch, its projection and the
normalisation were rewritten as an ONNX graph.
"""


def export_clap_text(
    weights: Mapping[str, Tensor], vocabulary: Path, merges: Path, output: Path, heads: int = HEADS
) -> float:
    """Write the text branch, its tokenizer and their licence into a folder.

    Args:
        weights: ``text_branch.*`` and ``text_projection.*`` as
            :func:`audiosep_core.model.checkpoint.text_weights` finds them.
        vocabulary: RoBERTa's ``vocab.json``.
        merges: RoBERTa's ``merges.txt``.
        output: Folder to write to.
        heads: Attention heads.

    Returns:
        The greatest cosine distance between the graph and PyTorch.

    Raises:
        CheckpointError: The weights are not CLAP's, or the vocabulary is not RoBERTa's.
        TextTowerError: The graph does not compute what PyTorch does.
    """
    tokenizer = roberta_tokenizer(vocabulary, merges)
    return write_text_tower(clap_tower(weights, heads), tokenizer, output)


def clap_tower(weights: Mapping[str, Tensor], heads: int = HEADS) -> TextTower:
    """The text branch as PyTorch module and as graph.

    Raises:
        CheckpointError: A weight is missing, unknown or of another shape.
    """
    module = clap_module(weights, heads)
    return TextTower(module, _graph(module, heads), _END, _NOTICE)


def clap_module(
    weights: Mapping[str, Tensor], heads: int = HEADS
) -> transformers.ClapTextModelWithProjection:
    """The text branch as PyTorch module.

    Raises:
        CheckpointError: A weight is missing, unknown or of another shape.
    """
    try:
        words = weights["text_branch.embeddings.word_embeddings.weight"]
        if words.shape[1] % heads:
            raise CheckpointError(
                f"the text encoder's weights are not CLAP's: {heads} attention heads do not divide "
                f"{words.shape[1]} values; give laion-clap's checkpoint"
            )
        config = transformers.ClapTextConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len({name for name in weights if name.endswith(".query.weight")}),
            num_attention_heads=heads,
            intermediate_size=len(weights["text_branch.encoder.layer.0.intermediate.dense.bias"]),
            max_position_embeddings=len(
                weights["text_branch.embeddings.position_embeddings.weight"]
            ),
            layer_norm_eps=_EPSILON,
            pad_token_id=_PADDING,
            projection_dim=len(weights["text_projection.2.bias"]),
            projection_hidden_act="relu",
        )
        module = transformers.ClapTextModelWithProjection(config)
        module.load_state_dict(
            {_rename(name): value for name, value in weights.items() if name not in _COMPUTED}
            | {
                name: value
                for name, value in module.state_dict().items()
                if name.endswith(("position_ids", "token_type_ids"))
            }
        )
    except KeyError as error:
        raise CheckpointError(
            f"the text encoder's weights hold no {error}; give a checkpoint with CLAP's text branch"
        ) from None
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise CheckpointError(
            f"the text encoder's weights are not CLAP's ({detail}); give laion-clap's checkpoint"
        ) from None
    return module.float().eval()


def _rename(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _graph(module: transformers.ClapTextModelWithProjection, heads: int) -> onnx.ModelProto:
    weights = arrays(module, "give a checkpoint with CLAP's text branch")
    graph = TextGraph(weights, _EPSILON)
    hidden = _embed(graph)
    blocked = graph.blocked_padding(graph.to_float("attention_mask"))
    for layer in range(module.config.num_hidden_layers):
        hidden = graph.bert_layer(hidden, f"text_model.encoder.layer.{layer}", heads, blocked)
    first = graph.node("Gather", hidden, graph.constant("first", np.int64(0)), axis=1)
    pooled = graph.node("Tanh", graph.linear(first, "text_model.pooler.dense"))
    inner = graph.node("Relu", graph.linear(pooled, "text_projection.linear1"))
    return graph.finish(
        graph.linear(inner, "text_projection.linear2"), module.config.projection_dim
    )


def _embed(graph: TextGraph) -> str:
    """Sum of the word, position and sentence embeddings of ``input_ids``, normalised."""
    name = "text_model.embeddings"
    weights = graph.weights
    words = graph.rows("words", weights.array(f"{name}.word_embeddings.weight"), "input_ids")
    places = weights.array(f"{name}.position_embeddings.weight")
    places = places + weights.array(f"{name}.token_type_embeddings.weight")[0]
    # RoBERTa counts the tokens that are not padding, from the padding's own number upwards.
    padding = graph.constant("padding", np.int64(_PADDING))
    counted = graph.node("Not", graph.node("Equal", "input_ids", padding))
    counted = graph.node("Cast", counted, to=onnx.TensorProto.INT64)
    count = graph.node(
        "Mul", graph.node("CumSum", counted, graph.constant("axis", np.int64(1))), counted
    )
    positions = graph.rows("positions", places, graph.node("Add", count, padding))
    return graph.layer_norm(graph.node("Add", words, positions), f"{name}.LayerNorm")
