"""Query normalisation and the sentence encoder at run time."""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import audiosep_core.query.vocabulary
from audiosep_core.model.bundle import PACKAGED
from audiosep_core.query.text import MAX_QUERY_CHARACTERS, normalise_query, query_key
from audiosep_core.query.text_encoder import TextEncoder

MODEL = PACKAGED / "text_encoder"
VOCABULARY = Path(audiosep_core.query.vocabulary.__file__).parent


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


SPELLINGS = ["Hand Drums", "hand drums.", "hand drums?", "hand_drums", "hand-drums", '"hand drums"']


@pytest.mark.parametrize("text", [*SPELLINGS, "hand drums:", "«hand drums»", " hand, drums…\n"])
def test_signs_make_no_other_query(encoder: TextEncoder, text: str) -> None:
    assert query_key(text) == "hand drums"
    np.testing.assert_array_equal(encoder.encode([text]), encoder.encode(["hand drums"]))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a dog’s bark", "a dog's bark"),
        ("'rain'", "rain"),
        ("?!", "?!"),
        ("🎸 solo!", "🎸 solo"),
        ("Café", "café"),
        ("440 Hz, sine", "440 hz sine"),
    ],
)
def test_what_is_embedded(text: str, key: str) -> None:
    assert query_key(text) == key


@given(st.text(st.characters(), max_size=100))
def test_what_is_embedded_stays_so(text: str) -> None:
    try:
        key = query_key(text)
    except ValueError:
        return
    assert query_key(key) == key
