"""A bundle opens whole, or says what is wrong with it."""

import json
import shutil

import numpy as np
import pytest

from audiosep_core import BundleError, Separator
from audiosep_core.errors import UnknownModelError
from audiosep_core.model.bundle import PACKAGED, Bundle
from audiosep_core.model.installed import packaged_folder
from audiosep_core.query.encoder import QueryEncoder, bundled_text_encoder
from audiosep_core.query.packs import QueryPack
from audiosep_core.query.vocabulary import known_queries


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(packaged_folder("mini"), tmp_path / "mini")


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_ships_is_small_enough_for_a_wheel_and_says_words_once():
    files = [file for file in PACKAGED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 50e6
    assert sum(file.name == "text_encoder.onnx" for file in files) == 1


@pytest.mark.parametrize("folder", sorted(PACKAGED.glob("*/model.json")), ids=str)
def test_every_model_that_ships_is_whole_and_understands_words(folder):
    bundle = Bundle.open(folder.parent)
    assert bundle.name == folder.parent.name
    assert {"CARD.md", "PROVENANCE.csv", "report.json", "text_encoder.onnx"} <= set(bundle.hashes)
    assert QueryEncoder(bundle).embed(["a dog", "a new phrase"]).shape == (2, 384)


def test_a_copy_shares_the_text_encoder_of_its_siblings_or_of_the_package(copy):
    package = Bundle.open(PACKAGED / "mini").path("text_encoder.onnx")
    assert Bundle.open(copy).path("text_encoder.onnx") == package
    sibling = shutil.copytree(PACKAGED / "text_encoder", copy.parent / "text_encoder")
    assert Bundle.open(copy).path("text_encoder.onnx") == sibling / "text_encoder.onnx"
    (sibling / "text_encoder.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"text_encoder\.onnx is damaged"):
        Bundle.open(copy)


def test_the_pack_that_ships_is_what_the_encoder_makes_of_the_queries():
    encoder = bundled_text_encoder()
    pack = QueryEncoder(Bundle.open(PACKAGED / "mini")).pack
    some = slice(None, None, 7)
    np.testing.assert_allclose(pack.embeddings[some], encoder.encode(pack.queries[some]), atol=2e-3)


def test_a_folder_and_its_zip_give_the_same(copy, tmp_path, rng):
    mixture = rng.standard_normal(8000).astype(np.float32)
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "mini")
    stems = [
        Separator(path, device="cpu").separate(mixture, 32000, "drums")["drums"]
        for path in (copy, archive, archive)
    ]
    assert np.array_equal(stems[0], stems[1])
    assert np.array_equal(stems[0], stems[2])


def test_damage_is_named(copy):
    graph = copy / "separator.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(BundleError, match=r"separator\.onnx is damaged"):
        Separator(copy)
    graph.unlink()
    with pytest.raises(BundleError, match=r"lacks separator\.onnx"):
        Separator(copy)


def test_a_newer_format_is_refused(copy):
    edit(copy, format_version=99)
    with pytest.raises(BundleError, match=r"format 99.*update audiosep"):
        Separator(copy)


@pytest.mark.parametrize(
    "changes", [{"network": {"hop_length": -1}}, {"files": 3}, {"network": None}]
)
def test_a_damaged_description(copy, changes):
    edit(copy, **changes)
    with pytest.raises(BundleError, match="damaged"):
        Separator(copy)


def test_no_bundle(tmp_path):
    with pytest.raises(UnknownModelError, match=r"no model\.json"):
        Bundle.open(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(tmp_path)


def test_a_pack_of_another_encoder_is_refused(tmp_path):
    pack = QueryPack(["drums"], np.ones((1, 384), np.float32), "someone-else")
    pack.save(tmp_path / "pack.safetensors")
    with pytest.raises(BundleError, match="another text encoder"):
        QueryPack.load(tmp_path / "pack.safetensors", "ours")
    (tmp_path / "pack.safetensors").write_bytes(b"junk")
    with pytest.raises(BundleError, match="damaged"):
        QueryPack.load(tmp_path / "pack.safetensors", "ours")


def test_packed_queries_need_no_text_encoder(copy):
    (copy / "text_encoder.onnx").write_bytes(b"")
    encoder = QueryEncoder(Bundle.open(copy, verify=False))
    vectors = encoder.embed(["acoustic guitar", "ACOUSTIC  GUITAR", "Dog"])
    assert np.array_equal(vectors[0], vectors[1])
    assert vectors.shape == (3, 384)


def test_the_pack_holds_the_promised_labels():
    pack = QueryEncoder(Bundle.open(packaged_folder("mini"))).pack
    labels = known_queries()
    assert len(labels) >= 527
    assert all(pack.get(label) is not None for label in labels)
    some = {"speech", "crying baby", "acoustic guitar", "church bells", "snare drum"}
    assert some <= {label.casefold() for label in labels}


def test_other_texts_are_encoded_once_and_cached(copy, monkeypatch):
    encoder = QueryEncoder(Bundle.open(copy))
    first = encoder.embed(["a kettle that whistles in a quiet kitchen"])
    again = QueryEncoder(Bundle.open(copy))
    monkeypatch.setattr(again._encoder, "encode", lambda texts: pytest.fail("encoded again"))
    assert np.array_equal(again.embed(["a kettle that whistles in a quiet kitchen"]), first)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-4)
