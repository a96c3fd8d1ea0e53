"""Training for real, on a network that fits in a test."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiosep_core import Separator
from audiosep_core.model.checkpoint import CheckpointError, load_network
from audiosep_core.model.network import is_unused_site
from audiosep_training.config.schema import ConfigError
from audiosep_training.data.batches import DataError
from audiosep_training.data.data_module import BAD_CLIPS
from audiosep_training.query_encoders import FrozenEncoder
from audiosep_training.run.audiosep import AudioSepRecipe
from audiosep_training.run.checkpoints import LAST, Checkpoints
from audiosep_training.run.log import LOG
from audiosep_training.run.module import SeparationModule
from audiosep_training.run.train import train


def weights(run):
    """Shipped and current weights, and the optimiser's state, as one flat list of tensors."""
    content = torch.load(run / LAST, weights_only=True)
    found = [*content["state_dict"].values(), *content.get("current_model_state", {}).values()]
    for state in content["optimizer_states"][0]["state"].values():
        found += [value for value in state.values() if torch.is_tensor(value)]
    return found


def equal(one, other):
    pairs = zip(weights(one), weights(other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def log(run):
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def on(corpus=None, lists=None, shards=None):
    fields = {"corpus": corpus, "lists": lists and [str(lists)], "shards": shards and [str(shards)]}
    return [f"data.{name}={json.dumps(str(v) if name == 'corpus' else v)}"
            for name, v in fields.items() if v]  # fmt: skip


def test_a_corpus_is_learned(corpus, tiny, tmp_path):
    config = tiny(
        *on(corpus), "optimiser.loss=log", "run.steps=60", "run.log_every=20",
        "run.validate_every=60",
    )  # fmt: skip
    assert train(config, tmp_path) is None
    *steps, validated = log(tmp_path)
    assert [record["step"] for record in steps] == [20, 40, 60]
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.05
    assert np.isfinite(validated["sdri"])


@pytest.mark.parametrize("source", ["corpus", "lists", "shards"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    source, corpus, clip_list, tiny, tmp_path, audiosep
):
    changes = ["run.steps=7", "run.checkpoint_every=3"]
    if source == "corpus":
        changes += on(corpus)
    elif source == "shards":
        assert audiosep("shards", clip_list, "-o", tmp_path / "s", "--clips", 3, "--shortest", 0.1)
        changes += [*on(shards=tmp_path / "s"), "data.workers=2"]
    else:
        changes += [*on(lists=clip_list), f'data.validation=["{clip_list}"]']
        changes += ["run.validate_every=5", "data.validation_count=1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(tiny(*changes), whole)
    for steps in (2, 5, 7):
        train(tiny(*changes, f"run.steps={steps}"), cut)
        assert torch.load(cut / LAST, weights_only=True)["global_step"] == steps
    assert equal(whole, cut)
    # What the test can see: another seed gives other weights.
    train(tiny(*changes, "seed=4"), tmp_path / "other")
    assert not equal(whole, tmp_path / "other")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_that_goes_on_exactly(number, corpus, tiny, tmp_path, monkeypatch):
    config = tiny(*on(corpus), "run.steps=6", "run.validate_every=6", "data.validation_count=1")
    train(config, tmp_path / "whole")
    step = SeparationModule.training_step

    def interrupted(module, batch, index):
        if module.global_step == 3:
            os.kill(os.getpid(), number)
        return step(module, batch, index)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(SeparationModule, "training_step", interrupted)
        assert train(config, tmp_path / "cut") == number
    assert signal.getsignal(number) == before
    assert torch.load(tmp_path / "cut" / LAST, weights_only=True)["global_step"] == 4
    # It stopped at once, without a validation.
    assert not any("sdri" in record for record in log(tmp_path / "cut"))
    assert train(config, tmp_path / "cut") is None
    assert equal(tmp_path / "whole", tmp_path / "cut")


GROUP = """
import os, signal, sys
from audiosep_training.commands.train import command
from audiosep_training.run.module import SeparationModule
from audiosep_training.query_encoders import FrozenEncoder
from audiosep_training.run.audiosep import AudioSepRecipe
from audiosep_core.commands import main

step = SeparationModule.training_step

def interrupted(module, batch, index):
    if module.global_step == 3:
        os.killpg(0, getattr(signal, os.environ["NUMBER"]))
    return step(module, batch, index)

SeparationModule.training_step = interrupted
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_signals_to_the_whole_group(number, clip_list, tiny_file, tmp_path):
    """A terminal sends Ctrl-C to the workers too."""
    options = ["--list", clip_list, "--run", tmp_path, "--set", "data.workers=2"]
    done = subprocess.run(
        [sys.executable, "-c", GROUP, "train", tiny_file, *options, "--set", "run.steps=1000"],
        env={**os.environ, "NUMBER": number, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 128 + getattr(signal, number), done.stderr
    assert "the same command goes on from" in done.stderr and "Traceback" not in done.stderr
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 4


def test_a_signal_asks_for_a_checkpoint(corpus, tiny, tmp_path, monkeypatch):
    step = SeparationModule.training_step

    def asked(module, batch, index):
        if module.global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        if module.global_step == 3:
            assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == 3
        return step(module, batch, index)

    monkeypatch.setattr(SeparationModule, "training_step", asked)
    assert train(tiny(*on(corpus), "run.steps=4"), tmp_path) is None


def test_a_full_disk_leaves_the_checkpoint_before(corpus, tiny, tmp_path):
    resource = pytest.importorskip("resource")
    config = tiny(*on(corpus), "run.steps=2")
    train(config, tmp_path)
    before = (tmp_path / LAST).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be written .* is whole"):
            train(tiny(*on(corpus), "run.steps=3"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / LAST).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert train(tiny(*on(corpus), "run.steps=3"), tmp_path) is None
    whole = (tmp_path / LAST).read_bytes()
    assert train(tiny(*on(corpus), "run.steps=3"), tmp_path) is None
    assert (tmp_path / LAST).read_bytes() == whole


def test_checkpoints_to_keep(corpus, tiny, tmp_path):
    train(tiny(*on(corpus), "run.steps=5", "run.keep_every=2"), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [
        LAST,
        "step-00000002.ckpt",
        "step-00000004.ckpt",
    ]


def test_another_training_is_refused(corpus, tiny, tmp_path):
    train(tiny(*on(corpus), "run.steps=1"), tmp_path)
    with pytest.raises(CheckpointError, match=r"optimiser\.rate is 0\.002 there and 0\.5 here"):
        train(tiny(*on(corpus), "optimiser.rate=0.5"), tmp_path)
    with pytest.raises(CheckpointError, match=r"network\.n_fft is 256 there and 512 here"):
        train(tiny(*on(corpus), "network.n_fft=512"), tmp_path)
    torch.save({"state_dict": {}}, tmp_path / LAST)
    with pytest.raises(CheckpointError, match="no checkpoint of 'audiosep train'"):
        train(tiny(*on(corpus)), tmp_path)
    (tmp_path / LAST).write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(tiny(*on(corpus)), tmp_path)


def test_starting_from_weights(corpus, tiny, tmp_path):
    train(tiny(*on(corpus), "run.steps=3"), tmp_path / "first")
    still = tiny(*on(corpus), "run.steps=1", "optimiser.rate=0.0")
    train(still, tmp_path / "second", tmp_path / "first" / LAST)
    one, other = (load_network(tmp_path / run / LAST) for run in ("first", "second"))
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(CheckpointError, match="do not fit the network"):
        wider = tiny(*on(corpus), "network.widths=[8, 4, 4, 4, 4, 4]")
        train(wider, tmp_path / "third", tmp_path / "first" / LAST)


def test_the_checkpoint_is_exported_and_separates(corpus, tiny_file, tmp_path, audiosep):
    code, out, error = audiosep(
        "train", tiny_file, "--corpus", corpus, "--run", "run", "--set", "run.steps=2"
    )
    assert code == 0 and "audiosep export run/last.ckpt" in out, error
    content = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert any(name.startswith("ss_model.") for name in content["state_dict"])
    code, _, error = audiosep("export", "run/last.ckpt", "-o", "bundle")
    assert code == 0, error
    mixture = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 9_000)).astype(np.float32)
    stems = Separator("bundle", "cpu").separate(mixture, 32_000, ["rain"])
    assert np.allclose(stems["rain"] + stems.residual, mixture, atol=1e-6)
    # What ships is the average that the callback keeps, not the weights of the last step.
    net = load_network(tmp_path / "run" / LAST)
    average = content["state_dict"]["ss_model.base.pre_conv.weight"]
    assert torch.equal(net.base.pre_conv.weight, average)
    assert not torch.equal(average, content["current_model_state"]["ss_model.base.pre_conv.weight"])


def test_nothing_that_is_trained_goes_without_gradient(corpus, tiny):
    module = SeparationModule(tiny(), AudioSepRecipe(tiny()))
    sound = torch.randn(2, 1, 5119)
    module.ss_model(sound, torch.randn(2, 384)).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    unused = sum(map(is_unused_site, module.ss_model.film.sites))
    assert unused == 6 and len(frozen) == 4 * unused


def test_tensorboard_shows_sound_and_spectrograms(clip_list, tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny(*on(lists=clip_list), f'data.validation=["{clip_list}"]', "run.validate_every=2")
    train(config, tmp_path)
    board = EventAccumulator(str(tmp_path)).Reload()
    tags = board.Tags()
    assert {"loss", "rate", "sdri"} <= set(tags["scalars"])
    title = "0 tone number 0"
    assert f"{title}/spectrograms" in tags["images"]
    assert {f"{title}/{part}" for part in ("mixture", "target", "estimate")} <= set(tags["audio"])
    assert [event.step for event in board.Images(f"{title}/spectrograms")] == [2, 4, 6]


@pytest.fixture
def spoilt(clip_list, tmp_path):
    rows = json.loads(clip_list.read_text())["data"]
    for row in rows:
        row["wav"] = str(clip_list.parent / row["wav"])
    soundfile.write(tmp_path / "nan.wav", np.full(8_000, np.nan), 32_000, "FLOAT")
    rows[2]["wav"] = str(tmp_path / "nan.wav")
    rows[7]["wav"] = str(tmp_path / "missing.wav")
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps({"data": rows}))
    return path


def test_unreadable_data_fail_early_with_all_names(spoilt, tiny, tmp_path):
    config = tiny(*on(lists=spoilt))
    with pytest.raises(DataError, match=r"1 of 16 clips cannot be used.*missing\.wav"):
        train(config, tmp_path / "run")
    assert "missing.wav" in (tmp_path / "run" / BAD_CLIPS).read_text()
    assert not (tmp_path / "run" / LOG).exists()


def test_few_bad_clips_are_passed_over_and_counted(spoilt, tiny, tmp_path):
    config = tiny(*on(lists=spoilt), "data.max_bad_share=0.1", "run.steps=8")
    assert train(config, tmp_path / "run") is None
    names = (tmp_path / "run" / BAD_CLIPS).read_text()
    assert "missing.wav" in names and "nan.wav" in names
    assert all(np.isfinite(record["loss"]) for record in log(tmp_path / "run"))


def test_many_bad_clips_end_training(spoilt, tiny, tmp_path):
    config = tiny(*on(lists=spoilt), "data.check=false", "data.max_bad_share=0.01", "run.steps=50")
    with pytest.raises(DataError, match=r"2 clips could not be used.*data\.max_bad_share"):
        train(config, tmp_path / "run")


def test_a_broken_shard_ends_training_in_a_sentence(clip_list, tiny, tmp_path, audiosep):
    assert audiosep("shards", clip_list, "-o", "s", "--clips", 4, "--shortest", 0.1)[0] == 0
    (tmp_path / "s" / "shard-000002.tar").write_bytes(b"no shard" * 1000)
    config = tiny(*on(shards=tmp_path / "s"), "data.workers=2", "run.steps=20")
    with pytest.raises(DataError, match=r"shard-000002\.tar cannot be read") as caught:
        train(config, tmp_path / "run")
    assert "Traceback" not in str(caught.value)


class Loudness(FrozenEncoder):
    """Says of a sound how loud it is, of a text how long it is, of a video its size or length."""

    def __init__(self):
        super().__init__("loudness", 1)

    def embed_sounds(self, audio, sample_rate):
        return audio.std(1, correction=0, keepdim=True)

    def _encode_texts(self, texts):
        return np.array([[len(text)] for text in texts], np.float32)

    def _encode_videos(self, videos):
        sizes = [it.stat().st_size if isinstance(it, Path) else len(it) for it in videos]
        return np.array(sizes, np.float32)[:, None]


def test_queries_by_text_sound_and_video(tiny, tmp_path):
    (tmp_path / "video").write_bytes(b"x" * 70)
    target = torch.randn(2, 1, 500)
    batch = {"target": target, "captions": ["ab", "abc"]}
    frames = torch.zeros(5, 2, 2, 3, dtype=torch.uint8)
    for videos, by_sound, expected in (
        (["", ""], False, [2.0, 3.0]),
        (["", ""], True, target[:, 0].std(1, correction=0).tolist()),
        (["", str(tmp_path / "video")], False, [2.0, 70.0]),
        ([frames, ""], False, [5.0, 3.0]),
    ):
        recipe = AudioSepRecipe(tiny(), Loudness())
        condition = recipe.condition({**batch, "videos": videos, "by_sound": by_sound})
        assert condition[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "one of --corpus DIR, --list FILE and --shards PLACE"),
        (["query.encoder=clap", "CORPUS"], "a corpus brings queries of its own"),
        (["network.condition_size=512", "CORPUS"], r"set network\.condition_size = 384"),
        (["run.accelerator=gpu", "run.devices=1000", "CORPUS"], "does not fit this machine"),
        (["run.strategy=fsdp", "optimiser.ema=0.0", "CORPUS"], "does not fit this machine"),
        (["mixing.max_mix_num=5", "LIST"], r"mixing\.max_mix_num = 5 needs"),
    ],
)
def test_what_does_not_fit(changes, message, corpus, clip_list, tiny, tmp_path):
    known = {"CORPUS": on(corpus), "LIST": on(lists=clip_list)}
    fields = [field for change in changes for field in known.get(change, [change])]
    with pytest.raises(ConfigError, match=message):
        train(tiny(*fields), tmp_path)


def test_the_command(audiosep, corpus, tmp_path, tiny_file):
    code, out, _ = audiosep("train", "--help")
    assert code == 0 and "torchrun" in out and "runs/mini" in out
    code, out, _ = audiosep("train", "--configs")
    assert code == 0 and re.search(r"^lass-net +done", out, re.M)
    assert "not done" not in out
    for name, reason in (("segan", "not trained on a corpus"), ("wiener", "nothing to train")):
        code, _, error = audiosep("train", name, "--run", "run", "--corpus", corpus)
        assert code == 2 and reason in error and "Traceback" not in error
        assert not (tmp_path / "run").exists()
    code, _, error = audiosep("train", "audiosep-base", "--run", "run", "--list", "none.json")
    assert code == 2 and "none.json does not exist" in error


def test_without_the_extra(audiosep, monkeypatch, corpus):
    for name in [name for name in sys.modules if name.split(".")[0] == "lightning"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    for name in [name for name in sys.modules if name.startswith("audiosep_training.")]:
        monkeypatch.delitem(sys.modules, name)
    code, _, error = audiosep("train", "mini", "--run", "run", "--corpus", corpus)
    assert code == 2 and "pip install 'audiosep[train]'" in error


def test_signals_are_only_taken_while_training(tmp_path, tiny):
    before = signal.getsignal(signal.SIGTERM)
    Checkpoints(tmp_path, tiny().run)
    assert signal.getsignal(signal.SIGTERM) == before
