"""The words of queries: the form that is shown, the one that is embedded, and lists of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from audiosep_core.errors import QueryError

#: Longest query in characters, counted after normalisation.
MAX_QUERY_CHARACTERS = 512
# Typographic apostrophes to the plain one.
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ", "'"))
_WHITESPACE_CONTROLS = frozenset("\t\n\v\f\r")


def normalise_query(text: str) -> str:
    """Bring a query to the form that is shown; what is embedded is :func:`query_key` of it.

    Leading and trailing whitespace goes, inner runs of whitespace (line breaks included)
    become one space, and the characters are put in Unicode form NFC. Doing it twice changes
    nothing.

    Args:
        text: The query as the user wrote it.

    Returns:
        The query in normal form, 1 to ``MAX_QUERY_CHARACTERS`` characters long.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: The query is empty, too long, or holds control characters or unpaired
            surrogates.
    """
    if not isinstance(text, str):
        raise TypeError(f"a query must be a string, not {type(text).__name__}")
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            raise ValueError(
                f"the query holds the unpaired surrogate U+{ord(character):04X}; "
                "decode it as valid UTF-8 or UTF-16 first"
            )
        if category == "Cc" and character not in _WHITESPACE_CONTROLS:
            raise ValueError(
                f"the query holds the control character U+{ord(character):04X}; remove it"
            )
    query = " ".join(unicodedata.normalize("NFC", text).split())
    # Spaces and invisible marks alone (a zero-width space, say) ask for nothing.
    if _is_empty(query):
        raise ValueError("the query is empty; describe the sound to separate, such as 'dog bark'")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValueError(
            f"the query has {len(query)} characters and at most {MAX_QUERY_CHARACTERS} are "
            "allowed; shorten it"
        )
    return query


def check_queries(queries: Sequence[str]) -> list[str]:
    """Queries with white space tidied.

    Raises:
        QueryError: There is none, or one is empty, too long or not text.
    """
    listed = [queries] if isinstance(queries, str) else list(queries)
    if not listed:
        raise QueryError("no query was given; describe at least one sound in words")
    try:
        return [normalise_query(query) for query in listed]
    except (TypeError, ValueError) as error:
        raise QueryError(str(error)) from None


def read_queries(path: Path) -> list[str]:
    """The queries of a text file, one a line; blank lines are skipped.

    Args:
        path: A file in UTF-8.

    Raises:
        QueryError: The file is missing, no UTF-8 or holds no query, or a line is too long, holds
            control characters or repeats another one; the message gives its number.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise QueryError(f"{path} cannot be read ({error.strerror}); give a text file") from None
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise QueryError(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None
    queries: list[str] = []
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            query = normalise_query(line)
        except ValueError as error:
            raise QueryError(f"{path}, line {number}: {error}") from None
        first = numbers.setdefault(query_key(query), number)
        if first != number:
            raise QueryError(f"{path}, line {number}: repeats line {first} ({query!r}); remove one")
        queries.append(query)
    if not queries:
        raise QueryError(f"{path} holds no query; write one a line")
    return queries


def query_key(query: str) -> str:
    """The form of a query that is embedded, and that all queries share which ask for the same.

    Upper and lower case are alike, and signs other than apostrophes within words count as spaces:
    a text encoder would take a full stop, or a hyphen, for a part of the sound. A query of signs
    alone stays as it is.
    """
    text = normalise_query(query)
    plain = unicodedata.normalize("NFC", text.casefold()).translate(_APOSTROPHES)
    spaced = "".join(" " if _is_sign(character) else character for character in plain)
    words = " ".join(word.strip("'") for word in spaced.split()).split()
    found = " ".join(words)
    return plain if _is_empty(found) else found


def _is_empty(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "CZ" for character in text)


def _is_sign(character: str) -> bool:
    if character == "'":
        return False
    category = unicodedata.category(character)
    # Beyond ASCII, symbols are words of their own: emoji, sharps and flats.
    return category[0] == "P" or (category[0] == "S" and character.isascii())
