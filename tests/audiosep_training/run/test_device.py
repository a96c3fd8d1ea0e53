"""The run on a bare machine, at toy size: pack, decode, train, go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from audiosep_core.model.checkpoint import load_weights, network_weights, read_checkpoint
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_training.config.files import load_config
from audiosep_training.corpus.store import Corpus
from audiosep_training.data.mixed_batches import sound_bank
from audiosep_training.data.pack import PackError, read_pack, write_pack
from audiosep_training.data.vocabulary import make_vocabulary
from audiosep_training.mixer.mixer import Mixer
from audiosep_training.mixer.sounds import SAMPLE_RATE
from audiosep_training.run.device import DeviceTraining, main, rate_after

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]
#: What the machine lacks.
ABSENT = ("lightning", "click", "rich", "scipy", "onnxruntime", "tokenizers", "torchmetrics")


@pytest.fixture(scope="module")
def packed(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    store = Corpus(corpus)
    write_pack(store, make_vocabulary(store), folder)
    return folder


def toy(packed, out, *more):
    return [
        "mini", "live", "--pack", str(packed), "--out", str(out), "--minutes", "2",
        "--steps", "4", "--batch", "4", "--seconds", "0.64", "--device", "cpu", "--workers", "1",
        "--set", "network.projection=8", "--set", "network.recurrent=32", *more,
    ]  # fmt: skip


def test_a_pack_holds_the_sounds(corpus, packed):
    store = Corpus(corpus)
    bank, vocabulary = read_pack([packed], CPU, 1)
    direct = sound_bank(store, CPU)
    assert sorted(each.label for each in bank.sounds) == sorted(
        each.label for each in direct.sounds
    )
    assert set(vocabulary.labels) == {"rain", "piano"}
    assert bank.minutes == pytest.approx(direct.minutes, rel=1e-3)
    # A tone comes through the codec; the clips are sorted by class.
    number = [each.label for each in bank.sounds].index("piano")
    other = [each.label for each in direct.sounds].index("piano")
    one, two = (
        each.audio[each.offsets[i] : each.offsets[i] + each.lengths[i]].float().numpy()
        for each, i in ((bank, number), (direct, other))
    )
    count = min(len(one), len(two))
    error = np.mean((one[:count] - two[:count]) ** 2) / np.mean(two[:count] ** 2)
    assert error < 0.05


def test_a_pack_that_was_interrupted_leaves_nothing(corpus, tmp_path):
    store = Corpus(corpus)
    seen = []

    def interrupt(line):
        seen.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(store, make_vocabulary(store), tmp_path, interrupt)
    assert seen and not list(tmp_path.iterdir())


def test_parts_are_small_enough_and_all_are_needed(corpus, tmp_path):
    store = Corpus(corpus)
    vocabulary = make_vocabulary(store)
    with pytest.raises(PackError, match="more than a part"):
        write_pack(store, vocabulary, tmp_path, part_bytes=20_000)
    write_pack(store, vocabulary, tmp_path)
    parts = list(tmp_path.glob("part*.tar"))
    assert all(part.stat().st_size <= 60 * 2**20 for part in parts)
    parts[0].unlink()
    with pytest.raises(PackError, match="are missing"):
        read_pack([tmp_path], CPU, 1)
    with pytest.raises(PackError, match="corpus pack"):
        read_pack([tmp_path / "nothing"], CPU, 1)


def test_a_bare_machine_trains(packed, tmp_path):
    """In a process of its own, which finds none of the packages that a bare machine lacks."""
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({ABSENT}))\n"
        "from audiosep_training.run.device import main\n"
        "if __name__ == '__main__': main(sys.argv[1:])\n"
    )
    script = tmp_path / "bare.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, *toy(packed, tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'training'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "done after 4 steps" in done.stdout
    for name in ("mini", "live"):
        content = read_checkpoint(tmp_path / "out" / f"{name}.ckpt")
        assert content["steps"] == 4
        net = StreamingNetwork(StreamingConfig.from_dict(content["config"]))
        load_weights(net, network_weights(content))
        assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == []


@pytest.fixture
def training(streaming):
    return DeviceTraining(streaming(), 4, CPU)


@pytest.fixture(scope="module")
def mixer(packed):
    bank, vocabulary = read_pack([packed], CPU, 1)
    return Mixer(bank, vocabulary, int(0.4 * SAMPLE_RATE), 3)


def test_it_goes_on_exactly(training, streaming, mixer, tmp_path):
    for step in range(4):
        if step == 2:
            training.save(tmp_path)
        training.train_step(mixer.batch(step, 4), 1e-3)
    other = DeviceTraining(streaming(), 4, CPU)
    other.load(tmp_path / "streaming.state.ckpt")
    assert other.step == 2
    for step in range(2, 4):
        other.train_step(mixer.batch(step, 4), 1e-3)
    for one, two in ((training.net, other.net), (training.average, other.average)):
        pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_a_gradient_that_is_not_finite_changes_no_weight(training, mixer, tmp_path):
    training.train_step(mixer.batch(0, 4), 1e-3)
    training.save(tmp_path)
    before = [each.detach().clone() for each in training.net.parameters()]
    batch = mixer.batch(1, 4)
    batch.target[0, 0] = torch.nan
    training.train_step(batch, 1e-3)
    assert all(map(torch.equal, before, training.net.parameters()))
    assert "skipped 1" in training.report()
    training.train_step(mixer.batch(2, 4), 1e-3)
    assert not all(map(torch.equal, before, training.net.parameters()))
    # Weights that are not finite replace no checkpoint.
    kept = (tmp_path / "streaming.ckpt").read_bytes()
    next(training.average.module.parameters()).data.fill_(torch.nan)
    training.save(tmp_path)
    assert (tmp_path / "streaming.ckpt").read_bytes() == kept


def test_checkpoints_come_along_and_start_another_run(packed, streaming_file, tmp_path, capsys):
    def run(out, *more):
        main([
            str(streaming_file), "--pack", str(packed), "--out", str(tmp_path / out),
            "--minutes", "2", "--steps", "25", "--batch", "4", "--seconds", "0.2", "--device",
            "cpu", "--workers", "1", "--checkpoint-minutes", "0", *more,
        ])  # fmt: skip
        return capsys.readouterr().out

    assert "done after 25 steps" in run("first")
    assert "after 25 steps" in run("second", "--init", str(tmp_path / "first"))
    assert torch.load(tmp_path / "second/streaming.ckpt", weights_only=True)["steps"] == 50


def test_the_rate_follows_the_clock():
    config = load_config("mini")
    rates = [rate_after(done, config, 10_000, 0.5) for done in (0, 0.5, 0.75, 1, 1.2)]
    assert rates[0] == rates[1] == config.optimiser.rate
    assert rates[2] == pytest.approx(rates[0] / 2) and rates[3] == rates[4] == 0
    assert rate_after(0, config, 0, 0.5) < rates[0] / 100
