"""What the options of ``audiosep separate`` ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import click

from audiosep_core.errors import QueryError
from audiosep_core.separator import stem_queries
from audiosep_core.settings import Query, Settings


def asked_settings(
    queries: Sequence[Query],
    negatives: Sequence[str],
    gains: Sequence[str],
    strength: float,
    remainder_db: float,
    plain_masks: bool,
) -> Settings:
    """What the options ask for, every query once.

    Raises:
        UsageError: A gain names no query, or a number is impossible.
        QueryError: A query is empty, too long, reserved or given twice.
    """
    listed = {query.text: query for query in queries}
    if len(listed) < len(queries):
        stem_queries(Settings(queries))
    for option in gains:
        # A query may hold the sign; a number does not.
        text, _, level = option.rpartition("=")
        query = listed.get(Query(text).text) if text else None
        if query is None:
            raise click.UsageError(
                f"--gain {option!r} names no query; write --gain QUERY=dB with a QUERY of -q"
            )
        try:
            listed[query.text] = dataclasses.replace(query, gain_db=float(level))
        except ValueError:
            raise click.UsageError(
                f"--gain {option!r}: {level!r} is no number of dB up to 60"
            ) from None
    removed = [Query(text, negative=True) for text in negatives]
    try:
        settings = Settings([*listed.values(), *removed], strength, remainder_db, plain_masks)
    except QueryError:
        raise
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    stem_queries(settings)
    return settings
