"""CLIP's text tower as ``text_encoder.onnx``: the AudioSep paper's other query encoder.

The paper compares CLAP with CLIP ViT-B/32 (Liu et al. 2023, section III-A; Radford et al. 2021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import transformers
from torch import Tensor

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_export.text.bpe_tokenizer import clip_tokenizer
from audiosep_export.text.text_graph import TextGraph
from audiosep_export.text.tower import TextTower, arrays, write_text_tower

#: ViT-B/32's; the weights alone do not tell.
HEADS = 8
Activation = Literal["quick_gelu", "gelu"]
_EPSILON = 1e-5
_NOTICE = """\
text_encoder.onnx and tokenizer.json are derived from CLIP by OpenAI
(https://github.com/openai/CLIP, MIT).

Changes: matrices were rounded to half precision, and the text tower, its projection and the
normalisation were rewritten as an ONNX graph.
"""
# OpenAI's and open_clip's names; ``attn.in_proj`` and ``text_projection`` need more than a name.
_RENAMED = {
    r"token_embedding\.weight": "text_model.embeddings.token_embedding.weight",
    r"positional_embedding": "text_model.embeddings.position_embedding.weight",
    r"ln_final\.(.+)": r"text_model.final_layer_norm.\1",
    r"(.+)\.attn\.out_proj\.(.+)": r"\1.self_attn.out_proj.\2",
    r"(.+)\.ln_([12])\.(.+)": r"\1.layer_norm\2.\3",
    r"(.+)\.mlp\.c_fc\.(.+)": r"\1.mlp.fc1.\2",
    r"(.+)\.mlp\.c_proj\.(.+)": r"\1.mlp.fc2.\2",
}


def export_clip_text(
    weights: Mapping[str, Tensor],
    vocabulary: Path,
    merges: Path,
    output: Path,
    heads: int = HEADS,
    activation: Activation = "quick_gelu",
) -> float:
    """Write the text tower, its tokenizer and their licence into a folder.

    Args:
        weights: A state dict of CLIP, named as OpenAI, open_clip or transformers do; its image
            tower is ignored.
        vocabulary: CLIP's ``vocab.json``.
        merges: CLIP's ``merges.txt``.
        output: Folder to write to.
        heads: Attention heads.
        activation: "quick_gelu" for OpenAI's weights, "gelu" for most of open_clip's own.

    Returns:
        The greatest cosine distance between the graph and PyTorch.

    Raises:
        CheckpointError: The weights or the vocabulary are not CLIP's.
        TextTowerError: The graph does not compute what PyTorch does.
    """
    tokenizer = clip_tokenizer(vocabulary, merges)
    return write_text_tower(clip_tower(weights, heads, activation), tokenizer, output)


def clip_tower(
    weights: Mapping[str, Tensor], heads: int = HEADS, activation: Activation = "quick_gelu"
) -> TextTower:
    """The text tower as PyTorch module and as graph.

    Raises:
        CheckpointError: A weight is missing, unknown or of another shape.
    """
    module = _module(_transformers_names(weights), heads, activation)
    # CLIP's vocabulary ends with the marks of a text's start and end.
    end = module.config.vocab_size - 1
    return TextTower(module, _graph(module, heads, activation, end), end, _NOTICE)


def _module(
    weights: Mapping[str, Tensor], heads: int, activation: Activation
) -> transformers.CLIPTextModelWithProjection:
    try:
        words = weights["text_model.embeddings.token_embedding.weight"]
        if words.shape[1] % heads:
            raise CheckpointError(
                f"the text encoder's weights are not CLIP's: {heads} attention heads do not divide "
                f"{words.shape[1]} values; give a checkpoint of CLIP"
            )
        config = transformers.CLIPTextConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len({name for name in weights if name.endswith(".q_proj.weight")}),
            num_attention_heads=heads,
            intermediate_size=len(weights["text_model.encoder.layers.0.mlp.fc1.bias"]),
            max_position_embeddings=len(weights["text_model.embeddings.position_embedding.weight"]),
            projection_dim=len(weights["text_projection.weight"]),
            layer_norm_eps=_EPSILON,
            hidden_act=activation,
            bos_token_id=words.shape[0] - 2,
            eos_token_id=words.shape[0] - 1,
        )
        module = transformers.CLIPTextModelWithProjection(config)
        module.load_state_dict(dict(weights))
    except KeyError as error:
        raise CheckpointError(
            f"the text encoder's weights hold no {error}; give a checkpoint of CLIP"
        ) from None
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise CheckpointError(
            f"the text encoder's weights are not CLIP's ({detail}); give a checkpoint of CLIP"
        ) from None
    return module.float().eval()


def _transformers_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text tower's weights under the names that transformers uses."""
    if any(name.startswith("text_model.") for name in weights):
        return {
            name: value
            for name, value in weights.items()
            if name.startswith(("text_model.", "text_projection."))
            and not name.endswith("position_ids")
        }
    renamed = {}
    for name, value in weights.items():
        path = name.replace("transformer.resblocks.", "text_model.encoder.layers.")
        if name == "text_projection":
            renamed["text_projection.weight"] = value.T.contiguous()
        elif match := re.fullmatch(r"(text_model\..+)\.attn\.in_proj_(weight|bias)", path):
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{match[1]}.self_attn.{part}_proj.{match[2]}"] = piece
        elif not name.startswith("visual."):
            for old, new in _RENAMED.items():
                if match := re.fullmatch(old, path):
                    renamed[match.expand(new)] = value
    return renamed


def _graph(
    module: transformers.CLIPTextModelWithProjection, heads: int, activation: Activation, end: int
) -> onnx.ModelProto:
    graph = TextGraph(arrays(module, "give a checkpoint of CLIP"), _EPSILON)
    weights = graph.weights
    name = "text_model.embeddings"
    words = graph.rows("words", weights.array(f"{name}.token_embedding.weight"), "input_ids")
    places = graph.constant("positions", weights.array(f"{name}.position_embedding.weight"))
    positions = graph.node("Slice", places, graph.integers(0), graph.token_count())
    hidden = graph.node("Add", words, positions)
    padding = graph.blocked_padding(graph.to_float("attention_mask"))
    blocked = graph.node("Add", graph.blocked_future(), padding)
    for layer in range(module.config.num_hidden_layers):
        hidden = _layer(
            graph, f"text_model.encoder.layers.{layer}", hidden, heads, blocked, activation
        )
    hidden = graph.layer_norm(hidden, "text_model.final_layer_norm")
    # A text is what its end mark has gathered.
    mark = graph.constant("end", np.int64(end))
    is_end = graph.node("Cast", graph.node("Equal", "input_ids", mark), to=onnx.TensorProto.INT32)
    place = graph.node("ArgMax", is_end, axis=1, keepdims=1)
    pooled = graph.node("GatherND", hidden, place, batch_dims=1)
    projection = weights.array("text_projection.weight")
    return graph.finish(graph.product(pooled, "text_projection", projection), len(projection))


def _layer(
    graph: TextGraph, name: str, hidden: str, heads: int, blocked: str, activation: Activation
) -> str:
    """Attention and feed-forward, each on the normalised input and added to it."""
    names = [f"{name}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    normed = graph.layer_norm(hidden, f"{name}.layer_norm1")
    hidden = graph.node("Add", graph.attention(normed, names, heads, blocked), hidden)
    inner = graph.linear(graph.layer_norm(hidden, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
    if activation == "gelu":
        inner = graph.gelu(inner)
    else:
        slope = graph.node("Mul", inner, graph.number(1.702))
        inner = graph.node("Mul", inner, graph.node("Sigmoid", slope))
    return graph.node("Add", graph.linear(inner, f"{name}.mlp.fc2"), hidden)
