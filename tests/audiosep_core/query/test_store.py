"""The store of embeddings on disk, and the cache of queries that lies in it."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audiosep_core.model.installed import open_model
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.query.store import EmbeddingStore

ONES = np.ones(16, np.float32)


def store(folder: Path, identity: str = "encoder", **options: int) -> EmbeddingStore:
    return EmbeddingStore(folder / "store.sqlite", identity, **options)


# The file is shared between examples on purpose: entries must not disturb each other.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=100),
        hnp.arrays(
            np.float32,
            st.integers(1, 600),
            elements=st.floats(-(2.0**100), 2.0**100, width=32),
        ),
        max_size=4,
    )
)
def test_round_trip(tmp_path: Path, embeddings: dict[str, np.ndarray]) -> None:
    store(tmp_path).put(embeddings)
    found = store(tmp_path).get([*embeddings, "never put\0"])
    assert found.keys() == embeddings.keys()
    for key, embedding in embeddings.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], embedding)
    assert not store(tmp_path, "another encoder").get(list(embeddings))


def test_more_entries_than_a_statement_takes(tmp_path: Path) -> None:
    embeddings = {str(n): np.full(3, n, np.float32) for n in range(1200)}
    store(tmp_path, max_entries=2000).put(embeddings)
    found = store(tmp_path, max_entries=2000).get(list(embeddings))
    assert all(np.array_equal(found[key], value) for key, value in embeddings.items())


def test_what_is_found_may_be_changed(tmp_path: Path) -> None:
    assert store(tmp_path).get(["dog"]) == {}
    store(tmp_path).put({"dog": ONES})
    store(tmp_path).get(["dog"])["dog"][:] = 0
    assert store(tmp_path).get(["dog"])["dog"].all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: b"",
        lambda value: value[:20],
        lambda value: value[:32],
        lambda value: value[:-1],
        lambda value: value[:-4],
        lambda value: value + b"\0\0\0\0",
        lambda value: value[:40] + bytes([value[40] ^ 1]) + value[41:],
        lambda value: bytes(200_000),
    ],
)
def test_a_damaged_entry_counts_as_missing(tmp_path: Path, damage) -> None:
    store(tmp_path).put({"dog": ONES})
    table = sqlite3.connect(tmp_path / "store.sqlite")
    with table:
        ((value,),) = table.execute("SELECT value FROM embeddings")
        table.execute("UPDATE embeddings SET value = ?", [damage(value)])
    table.close()
    assert store(tmp_path).get(["dog"]) == {}
    store(tmp_path).put({"dog": ONES})
    assert "dog" in store(tmp_path).get(["dog"])


def test_an_entry_under_another_key_counts_as_missing(tmp_path: Path) -> None:
    store(tmp_path).put({"dog": ONES, "cat": 0 * ONES})
    table = sqlite3.connect(tmp_path / "store.sqlite")
    with table:
        values = [value for (value,) in table.execute("SELECT value FROM embeddings")]
        for value, other in zip(values, reversed(values), strict=True):
            table.execute("UPDATE embeddings SET value = x'00' WHERE value = ?", [value])
            table.execute("UPDATE embeddings SET value = ? WHERE value = x'00'", [other])
            break
    table.close()
    assert len(store(tmp_path).get(["dog", "cat"])) == 1


@pytest.mark.parametrize("content", [b"no database" * 1000, b"", b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.sqlite").write_bytes(content)
    assert store(tmp_path).get(["dog"]) == {}
    store(tmp_path).put({"dog": ONES})
    assert "dog" in store(tmp_path).get(["dog"])


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    # A file where the folder should be stops every user, the superuser included.
    (tmp_path / "file").write_text("in the way")
    blocked = EmbeddingStore(tmp_path / "file" / "store.sqlite", "encoder")
    blocked.put({"dog": ONES})
    assert blocked.get(["dog"]) == {}


def test_the_entries_unused_for_longest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000, 2000))
    monkeypatch.setattr("audiosep_core.query.store.time.time", lambda: next(clock))
    kept = store(tmp_path, max_entries=3)
    for query in ("wind", "rain", "dog"):
        kept.put({query: ONES})
    assert "wind" in kept.get(["wind"])
    kept.put({"cat": ONES})
    assert set(kept.get(["wind", "rain", "dog", "cat"])) == {"wind", "dog", "cat"}


@pytest.mark.parametrize(
    "embedding", [[], [[1.0, 2.0]], [np.nan], [np.inf, 1.0], 1.0, np.zeros(65537)]
)
def test_refuses_what_is_no_embedding(tmp_path: Path, embedding: object) -> None:
    with pytest.raises(ValueError, match="embedding"):
        store(tmp_path).put({"dog": embedding})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_refuses_a_bound_below_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_entries must be at least 1"):
        store(tmp_path, max_entries=0)


def put_some(folder: Path, number: int) -> None:
    for n in range(20):
        store(folder, max_entries=1000).put({f"{number} {n}": ONES})


def test_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=put_some, args=(tmp_path, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    put_some(tmp_path, 2)
    for worker in workers:
        worker.join()
    keys = [f"{number} {n}" for number in range(3) for n in range(20)]
    assert set(store(tmp_path).get(keys)) == set(keys)


def test_spellings_of_a_query_share_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIOSEP_CACHE", str(tmp_path))
    encoder = QueryEncoder(open_model())
    made = encoder.embed(["an unheard-of sound"])
    assert (tmp_path / "queries.sqlite").is_file()
    monkeypatch.setattr("audiosep_core.query.text_encoder.TextEncoder.encode", None)
    again = QueryEncoder(open_model()).embed(["An unheard of  SOUND.", "an unheard-of sound"])
    np.testing.assert_array_equal(again, np.concatenate([made, made]))
