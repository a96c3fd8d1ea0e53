"""``audiosep queries``: which queries are known beforehand, and adding more."""

from __future__ import annotations

import json

import click

from audiosep_core.commands.console import model_option
from audiosep_core.commands.lazy import LazyGroup
from audiosep_core.errors import UsageError
from audiosep_core.model.installed import open_model
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.query.text import check_queries


@click.group(cls=LazyGroup, prefix="queries")
def command() -> None:
    """Any English phrase is a query; those in the model's pack or your cache start at once."""


@command.command("list")
@model_option
@click.option("--search", metavar="TEXT", default="", help="Only queries that contain TEXT.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def print_queries(model: str, search: str, as_json: bool) -> None:
    """Print the queries whose embeddings ship with a model."""
    queries = QueryEncoder(open_model(model)).pack.queries
    found = [query for query in queries if search.casefold() in query.casefold()]
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(found))


@command.command("add")
@click.argument("texts", nargs=-1, required=True)
@model_option
def add(texts: tuple[str, ...], model: str) -> None:
    """Encode TEXTS now and keep their embeddings in your cache.

    \b
    Example:
      audiosep queries add "a child laughing" "rain on a tin roof"
    """  # noqa: D301
    encoder = QueryEncoder(open_model(model))
    queries = check_queries(texts)
    shipped = [query for query in queries if encoder.pack.get(query) is not None]
    encoder.embed(queries)
    lost = [query for query in queries if not encoder.is_kept(query)]
    for query in queries:
        if query not in lost:
            click.echo(f"{'ships with the model' if query in shipped else 'ready'}: {query}")
    if lost:
        raise UsageError(
            f"{encoder.cache_folder} cannot be written to, and nothing was kept of {lost[0]!r}; "
            "make room there, or set AUDIOSEP_CACHE to another folder"
        )
