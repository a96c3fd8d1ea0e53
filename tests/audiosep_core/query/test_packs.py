"""Query packs: made from a list, met only by the model they were made for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core import Separator
from audiosep_core.errors import BundleError, QueryError, UsageError
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.installed import packaged_folder
from audiosep_core.query.encoder import QueryEncoder
from audiosep_core.query.packs import QueryPack
from audiosep_core.query.text import normalise_query, read_queries
from audiosep_core.query.text_encoder import TextEncoder

Run = Callable[..., tuple[int, str, str]]
TEXTS = ["a squeaky gate in the wind", "Rain on a tin roof", "ein bellender Hund"]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(packaged_folder("mini"))


def random_pack(bundle: Bundle, **changes: object) -> QueryPack:
    rng = np.random.default_rng(0)
    values = {
        "queries": TEXTS,
        "embeddings": rng.standard_normal((3, 384)).astype(np.float32),
        "encoder_hash": bundle.encoder_hash,
        "model_hash": bundle.model_hash,
        "film": {"site": rng.standard_normal((3, 7)).astype(np.float32)},
    }
    return QueryPack(**(values | changes))


def test_a_pack_reads_back_as_it_was(bundle: Bundle, tmp_path: Path) -> None:
    pack = random_pack(bundle)
    pack.save(tmp_path / "pack")
    again = QueryPack.load(tmp_path / "pack", bundle.encoder_hash, bundle.model_hash)
    assert again.queries == pack.queries
    np.testing.assert_array_equal(again.embeddings, pack.embeddings)
    np.testing.assert_array_equal(again.film["site"], pack.film["site"])
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_hash": "other"}, "another text encoder"),
        ({"model_hash": "other"}, "another model"),
        ({"model_hash": ""}, "another model"),
        ({"embeddings": np.full((3, 384), np.nan, np.float32)}, "NaN"),
        ({"embeddings": np.ones((2, 384), np.float32)}, "sizes disagree"),
        ({"film": {"site": np.ones((2, 7), np.float32)}}, "sizes disagree"),
    ],
)
def test_a_pack_never_meets_the_wrong_model(
    bundle: Bundle, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    random_pack(bundle, **changes).save(tmp_path / "pack")
    with pytest.raises(BundleError, match=message):
        QueryEncoder(bundle).add_pack(tmp_path / "pack")


@pytest.mark.parametrize("content", [b"", b"not a pack", b"\xff" * 100])
def test_a_damaged_pack(bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pack").write_bytes(content)
    with pytest.raises(BundleError, match="is damaged"):
        QueryEncoder(bundle).add_pack(tmp_path / "pack")


def test_a_truncated_pack(bundle: Bundle, tmp_path: Path) -> None:
    random_pack(bundle).save(tmp_path / "pack")
    content = (tmp_path / "pack").read_bytes()
    (tmp_path / "pack").write_bytes(content[:-10])
    with pytest.raises(BundleError, match="is damaged"):
        QueryEncoder(bundle).add_pack(tmp_path / "pack")


def test_packed_queries_need_no_text_encoder(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = random_pack(bundle)
    pack.save(tmp_path / "pack")
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts: pytest.fail("encoded"))
    encoder = QueryEncoder(bundle)
    encoder.add_pack(tmp_path / "pack")
    found = encoder.embed([f"  {text.upper()} " for text in TEXTS])
    np.testing.assert_array_equal(found, pack.embeddings)


LISTS = {
    "empty": (b"", "holds no query"),
    "blank": (b"\n  \n\t\n", "holds no query"),
    "duplicate": (b"rain\nwind\n\n RAIN \n", r"line 4: repeats line 1 \('RAIN'\)"),
    "long": (b"rain\n" + b"x" * 513 + b"\n", "line 2: the query has 513 characters"),
    "latin-1": (b"rain\nwind\ncaf\xe9\n", "line 3: not UTF-8"),
    "utf-16": ("rain".encode("utf-16"), "line 1: not UTF-8"),
    "control": (b"rain\nwi\x00nd\n", r"line 2: the query holds the control character U\+0000"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_bad_list_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    content, message = LISTS[kind]
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(QueryError, match=message):
        read_queries(tmp_path / "list.txt")


@given(st.lists(st.text("abc é", min_size=1, max_size=9), min_size=1, max_size=6))
def test_a_list_reads_as_it_was_written(tmp_path_factory, lines: list[str]) -> None:
    wanted = list(dict.fromkeys(normalise_query(line) for line in lines if line.strip()))
    path = tmp_path_factory.mktemp("list") / "list.txt"
    for ending, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig")):
        path.write_bytes(ending.join(["", *wanted, ""]).encode(encoding))
        if wanted:
            assert read_queries(path) == wanted


def test_a_place_that_cannot_be_written(bundle: Bundle, tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "pack", tmp_path):
        with pytest.raises(UsageError, match="cannot be written"):
            random_pack(bundle).save(path)
    assert list(tmp_path.iterdir()) == []


def test_pack_and_separate(audiosep: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("onnx")
    Path("sounds.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    code, out, _ = audiosep("queries", "pack", "sounds.txt", "-o", "sounds.safetensors")
    assert (code, out) == (0, "sounds.safetensors: 3 queries for mini, 384 + 5136 numbers each\n")
    separator = Separator("mini")
    pack = QueryPack.load(Path("sounds.safetensors"), separator.bundle.encoder_hash)
    started = separator.estimator.start(pack.embeddings)
    np.testing.assert_array_equal(pack.film["film"], started.film.reshape(3, -1))
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write("in.wav", noise, 32000, subtype="FLOAT")
    arguments = ["separate", "in.wav", "-q", TEXTS[0], "--pack", "sounds.safetensors"]
    with monkeypatch.context() as patch:
        patch.setattr(TextEncoder, "encode", lambda self, texts: pytest.fail("encoded"))
        assert audiosep(*arguments, "-o", "packed")[0] == 0
    assert audiosep(*arguments[:-2], "-o", "plain")[0] == 0
    name = "in/a-squeaky-gate-in-the-wind.wav"
    packed, plain = (soundfile.read(f"{folder}/{name}")[0] for folder in ("packed", "plain"))
    np.testing.assert_allclose(packed, plain, atol=1e-6)


def test_a_pack_for_another_model_is_refused(audiosep: Run, bundle: Bundle, tmp_path: Path) -> None:
    random_pack(bundle, model_hash="other").save(tmp_path / "pack")
    (tmp_path / "in.wav").write_bytes(b"")
    code, _, err = audiosep("separate", "in.wav", "-q", "rain", "--pack", "pack", "-o", "out")
    assert code == 1
    assert "was made for another model" in err
    assert not Path("out").exists()


def test_misuse_of_pack(audiosep: Run) -> None:
    code, _, err = audiosep("queries", "pack", "none.txt", "-o", "pack")
    assert code == 2
    assert "none.txt cannot be read" in err
    Path("list.txt").write_text("rain\nrain\n")
    code, _, err = audiosep("queries", "pack", "list.txt", "-o", "pack")
    assert (code, err) == (2, "Error: list.txt, line 2: repeats line 1 ('rain'); remove one\n")
    assert not Path("pack").exists()


def test_film_vectors_stand_for_the_query(windowed: Separator) -> None:
    """The graph without its query part, fed with the vectors, gives the same mask."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from audiosep_export.graphs.film import film_vectors

    rng = np.random.default_rng(0)
    conditions = rng.standard_normal((3, 384)).astype(np.float32)
    path = windowed.bundle.path("separator.onnx")
    film = film_vectors(path, conditions)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    body = onnx.utils.Extractor(model).extract_model(["magnitude", *film], ["mask"])
    session = onnxruntime.InferenceSession(body.SerializeToString())
    ranks = {value.name: len(value.shape) for value in session.get_inputs()}
    feed = {
        name: values.reshape(*values.shape, *[1] * (ranks[name] - 2))
        for name, values in film.items()
    }
    magnitude = np.abs(rng.standard_normal((3, 1, 32, windowed.bundle.config.bins))).astype(
        np.float32
    )
    whole = onnxruntime.InferenceSession(str(path))
    expected = whole.run(["mask"], {"magnitude": magnitude, "condition": conditions})[0]
    found = session.run(["mask"], {"magnitude": magnitude, **feed})[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_film_vectors_of_a_half_precision_graph_are_rounded_and_no_more(tmp_path: Path) -> None:
    """Divided by small scales of batch norms, they reach hundreds, of which 0.2 is a rounding."""
    onnx, torch = pytest.importorskip("onnx"), pytest.importorskip("torch")
    from audiosep_core.model.network import build_network
    from audiosep_export.graphs.film import film_vectors
    from audiosep_export.graphs.separator_graph import separator_model

    torch.manual_seed(0)
    net = build_network("mini-windowed").eval()
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.data.uniform_(1e-3, 1)
    conditions = np.random.default_rng(0).standard_normal((3, 384)).astype(np.float32)
    found = []
    for precision in ("fp32", "fp16"):
        path = tmp_path / f"{precision}.onnx"
        onnx.save(separator_model(net, precision), path)
        found.append(list(film_vectors(path, conditions).values()))
    assert len(found[0]) == len(found[1])
    largest = 0.0
    for exact, rounded in zip(*found, strict=True):
        largest = max(largest, float(np.abs(exact).max()))
        assert np.abs(rounded - exact).max() <= 1e-3 * np.abs(exact).max()
    assert largest > 100


def test_film_vectors_are_as_many_as_the_network_reads() -> None:
    pytest.importorskip("torch")
    from audiosep_core.model.network import build_network, film_sites, is_unused_site

    released = film_sites(build_network("audiosep-base").base)
    assert sum(released.values()) == 9856
    assert sum(size for path, size in released.items() if not is_unused_site(path)) == 8256
    mini = film_sites(build_network("mini-windowed").base)
    assert sum(size for path, size in mini.items() if not is_unused_site(path)) == 3040


def test_another_separator_has_another_hash(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "mini"
    shutil.copytree(bundle.folder, copy)
    assert Bundle.open(copy).model_hash == bundle.model_hash
    changed = Bundle(**(vars(bundle) | {"hashes": bundle.hashes | {"separator.onnx": "0"}}))
    assert changed.model_hash != bundle.model_hash
    assert changed.encoder_hash == bundle.encoder_hash
