"""``audiosep queries pack``: a list of queries, computed once for one model."""

from __future__ import annotations

from pathlib import Path

import click

from audiosep_core.commands.console import model_option
from audiosep_core.extras import needed_for
from audiosep_core.model.bundle import CONDITION, SEPARATOR, TEXT_ENCODER, TOKENIZER, Bundle
from audiosep_core.model.installed import open_model
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.query.packs import QueryPack
from audiosep_core.query.text import read_queries
from audiosep_core.query.text_encoder import TextEncoder


@click.command()
@click.argument("queries", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PACK",
    help="File to write, by custom *.safetensors.",
)
@model_option
def command(queries: Path, output: Path, model: str) -> None:
    """Compute the embeddings and FiLM vectors of QUERIES, a text file with one query a line.

    \b
    Example:
      audiosep queries pack sounds.txt -o sounds.safetensors
      audiosep separate take.wav -q "a squeaky gate" --pack sounds.safetensors -o stems

    A pack belongs to the model that it was made for; no other takes it.
    """  # noqa: D301
    texts = read_queries(queries)
    pack = make_pack(open_model(model), texts)
    pack.save(output)
    count = sum(values.shape[1] for values in pack.film.values())
    click.echo(
        f"{output}: {len(texts)} queries for {model}, {pack.embeddings.shape[1]} + {count} numbers "
        "each"
    )


def make_pack(bundle: Bundle, queries: list[str]) -> QueryPack:
    """What a model computes from queries alone.

    Args:
        bundle: The model.
        queries: In normal form, each one once.

    Raises:
        UsageError: ONNX is not installed.
    """
    with needed_for("packing queries", "export"):
        from audiosep_export.graphs.film import film_vectors, streaming_film_vectors
    encoder = TextEncoder(bundle.path(TEXT_ENCODER), bundle.path(TOKENIZER))
    embeddings = encoder.encode(queries)
    if isinstance(bundle.config, StreamingConfig):
        film = streaming_film_vectors(bundle.path(CONDITION), embeddings)
    else:
        film = film_vectors(bundle.path(SEPARATOR), embeddings)
    return QueryPack(queries, embeddings, bundle.encoder_hash, bundle.model_hash, film)
