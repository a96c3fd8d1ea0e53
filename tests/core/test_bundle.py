"""A bundle opens whole, or says what is wrong with it."""

import json
import shutil

import numpy as np
import pytest

from audiosep_core import BundleError, Separator
from audiosep_core.bundle import Bundle
from audiosep_core.errors import UnknownModelError
from audiosep_core.models import packaged_folder
from audiosep_core.queries import QueryEncoder, QueryPack
from audiosep_core.vocabulary import known_queries


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(packaged_folder("mini"), tmp_path / "mini")


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_default_bundle_is_small_enough_for_a_wheel():
    size = sum(file.stat().st_size for file in packaged_folder("mini").iterdir())
    assert size <= 40e6


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


@pytest.mark.parametrize("changes", [{"network": {"hop": -1}}, {"files": 3}, {"network": None}])
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
