"""Query normalisation, the sentence encoder at run time and the embedding cache."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import audiosep_core.text
from audiosep_core.text import (
    MAX_QUERY_CHARACTERS,
    EmbeddingCache,
    TextEncoder,
    normalise_query,
)

PACKAGE = Path(audiosep_core.text.__file__).parent
MODEL = PACKAGE / "models" / "mini"
VOCABULARY = PACKAGE / "vocabulary"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(MODEL / "text_encoder.onnx", MODEL / "tokenizer.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", "dog"),
        ("  Dog   bark \r\n loud\t", "Dog bark loud"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u00a0rain\u2003wind\u3000", "rain wind"),
        ("犬の鳴き声", "犬の鳴き声"),
        ("?!", "?!"),
        ("x" * MAX_QUERY_CHARACTERS, "x" * MAX_QUERY_CHARACTERS),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normalise_query(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("\u200b\u2060", "empty"),
        ("x" * (MAX_QUERY_CHARACTERS + 1), "513 characters"),
        ("dog\0bark", "control character U\\+0000"),
        ("dog\x1b[31m", "control character U\\+001B"),
        ("dog\x85bark", "control character U\\+0085"),
        ("dog \ud83d", "unpaired surrogate U\\+D83D"),
    ],
)
def test_refused_queries(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalise_query(text)


@pytest.mark.parametrize("value", [None, 3, b"dog", ["dog"]])
def test_refuses_what_is_not_text(value: object) -> None:
    with pytest.raises(TypeError, match="must be a string"):
        normalise_query(value)  # type: ignore[arg-type]


@given(st.text(st.characters(), max_size=600))
def test_normalising_is_idempotent(text: str) -> None:
    try:
        query = normalise_query(text)
    except ValueError:
        return
    assert normalise_query(query) == query
    assert 1 <= len(query) <= MAX_QUERY_CHARACTERS
    assert unicodedata.is_normalized("NFC", query)
    query.encode("utf-8")


@given(st.lists(st.text("abc\u00e9", min_size=1, max_size=5), min_size=1, max_size=8))
def test_spacing_does_not_matter(words: list[str]) -> None:
    assert normalise_query(" \n".join(words) + "\t") == normalise_query(" ".join(words))


def test_embeddings_are_unit_length_and_in_order(encoder: TextEncoder) -> None:
    queries = ["a very long description of a dog that barks in a garden", "dog", "piano"] * 20
    embeddings = encoder.encode(queries)
    assert embeddings.shape == (60, 384)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    # Alone or beside longer queries in a padded batch: the same embedding.
    alone = np.concatenate([encoder.encode([query]) for query in queries[:3]])
    np.testing.assert_allclose(embeddings, np.tile(alone, (20, 1)), atol=1e-5)


def test_embeddings_follow_meaning(encoder: TextEncoder) -> None:
    barking, dog, guitar = encoder.encode(["dog barking", "a dog barks loudly", "guitar solo"])
    assert barking @ dog > barking @ guitar + 0.3


def test_encoding_normalises(encoder: TextEncoder) -> None:
    np.testing.assert_array_equal(encoder.encode([" dog\n bark "]), encoder.encode(["dog bark"]))


def test_text_beyond_the_limit_is_ignored(encoder: TextEncoder) -> None:
    # Every character is a word piece of its own; 126 fit beside the two end markers.
    first, second = "犬" * 126 + "猫" * 300, "犬" * 200
    embeddings = encoder.encode([first, second])
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-6)


@pytest.mark.parametrize("query", ["🎸 solo", "перкуссия", "?!", "\u0301a", "x" * 512])
def test_unusual_text_has_an_embedding(encoder: TextEncoder, query: str) -> None:
    assert np.linalg.norm(encoder.encode([query])[0]) == pytest.approx(1, abs=1e-5)


def test_threads_share_an_encoder() -> None:
    shared = TextEncoder(MODEL / "text_encoder.onnx", MODEL / "tokenizer.json")
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(shared.encode(["rain"]))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_no_queries_give_no_rows(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_a_bare_string_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="wrap a single query in a list"):
        TextEncoder(tmp_path / "none.onnx", tmp_path / "none.json").encode("dog")


def test_missing_files_are_named(tmp_path: Path) -> None:
    encoder = TextEncoder(tmp_path / "none.onnx", tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json is missing; install the model"):
        encoder.encode(["dog"])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a model")
    with pytest.raises(RuntimeError, match=r"tokenizer .*broken cannot be read"):
        TextEncoder(MODEL / "text_encoder.onnx", broken).encode(["dog"])
    with pytest.raises(RuntimeError, match=r"text encoder .*broken cannot be loaded"):
        TextEncoder(broken, MODEL / "tokenizer.json").encode(["dog"])


def _only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# The folder is shared between examples on purpose: entries must not disturb each other.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    query=st.text(
        st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=100
    ),
    embedding=hnp.arrays(
        np.float32,
        st.integers(1, 600),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
)
def test_cache_round_trip(tmp_path: Path, query: str, embedding: np.ndarray) -> None:
    cache = EmbeddingCache(tmp_path / "cache", "hash")
    cache.put(query, embedding)
    cached = cache.get(f"  {query} ")
    assert cached is not None
    assert cached.dtype == np.float32
    np.testing.assert_array_equal(cached, embedding)
    assert EmbeddingCache(tmp_path / "cache", "another hash").get(query) is None


def test_cache_returns_a_copy_that_may_be_changed(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "hash")
    assert cache.get("dog") is None
    cache.put("dog", np.ones(4, np.float32))
    cached = cache.get("dog")
    assert cached is not None
    cached[:] = 0
    again = cache.get("dog")
    assert again is not None
    assert again.all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:32],
        lambda content: content[:-1],
        lambda content: content[:-4],
        lambda content: content + b"\0\0\0\0",
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content: bytes(2_000_000),
    ],
)
def test_a_damaged_entry_counts_as_missing(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache = EmbeddingCache(tmp_path, "hash")
    cache.put("dog", np.ones(16, np.float32))
    path = _only_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("dog") is None
    cache.put("dog", np.ones(16, np.float32))
    assert cache.get("dog") is not None


def test_an_entry_under_another_name_counts_as_missing(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "hash")
    cache.put("dog", np.ones(16, np.float32))
    dog = _only_file(tmp_path)
    cache.put("cat", np.zeros(16, np.float32))
    (cat,) = (path for path in tmp_path.iterdir() if path != dog)
    dog.replace(cat)
    assert cache.get("cat") is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    # A file where the folder should be stops every user, the superuser included.
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "cache", "hash")
    cache.put("dog", np.ones(4, np.float32))
    assert cache.get("dog") is None


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    cache = EmbeddingCache(tmp_path, "hash")
    cache.put("dog", np.ones(4, np.float32))
    assert cache.get("dog") is None
    assert not list(tmp_path.iterdir())


def test_the_entries_unused_for_longest_go_first(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "hash", max_entries=3)
    (tmp_path / "notes.txt").write_text("not an entry")
    for age, query in enumerate(["wind", "rain", "dog"]):
        known = set(tmp_path.iterdir())
        cache.put(query, np.ones(4, np.float32))
        (path,) = set(tmp_path.iterdir()) - known
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.get("wind") is not None
    cache.put("cat", np.ones(4, np.float32))
    assert cache.get("rain") is None
    for query in ("wind", "dog", "cat"):
        assert cache.get(query) is not None
    assert (tmp_path / "notes.txt").is_file()


@pytest.mark.parametrize(
    "embedding", [[], [[1.0, 2.0]], [np.nan], [np.inf, 1.0], 1.0, np.zeros(65537)]
)
def test_cache_refuses_what_is_no_embedding(tmp_path: Path, embedding: object) -> None:
    with pytest.raises(ValueError, match="embedding"):
        EmbeddingCache(tmp_path, "hash").put("dog", embedding)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_cache_refuses_a_bound_below_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_entries must be at least 1"):
        EmbeddingCache(tmp_path, "hash", max_entries=0)


@pytest.mark.parametrize(
    ("name", "least", "most", "first", "last"),
    [
        ("audioset", 527, 527, "Speech", "Field recording"),
        ("esc50", 50, 50, "Dog", "Hand saw"),
        ("instruments", 55, 70, "Singing voice", "Glockenspiel"),
    ],
)
def test_vocabulary(name: str, least: int, most: int, first: str, last: str) -> None:
    queries = (VOCABULARY / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert least <= len(queries) <= most
    assert (queries[0], queries[-1]) == (first, last)
    assert len({query.casefold() for query in queries}) == len(queries)
    assert [normalise_query(query) for query in queries] == queries
