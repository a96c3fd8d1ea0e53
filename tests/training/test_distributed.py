"""Two processes train one network, over gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.checkpoints import LAST

ROOT = Path(__file__).resolve().parents[2]
PROCESS = """
import hashlib, json, os, sys
from pathlib import Path
from training.config_file import load_config
from training.module import SeparationModule
from training.run import train

config, run, *overrides = sys.argv[1:]
heard = []
step = SeparationModule.training_step

def listen(module, batch, index):
    heard.append(batch["captions"])
    return step(module, batch, index)

def report(module):
    digest = hashlib.sha256()
    for parameter in module.ss_model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    report = {"heard": heard, "weights": digest.hexdigest()}
    Path(run, f"rank{module.global_rank}.json").write_text(json.dumps(report))

SeparationModule.training_step = listen
SeparationModule.on_train_end = report
train(load_config(config, overrides), Path(run))
"""


def launch(folder, tiny_file, run, *overrides):
    script = folder / "process.py"
    script.write_text(PROCESS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), str(script)]
    done = subprocess.run(
        [*command, str(tiny_file), str(run), "run.strategy=ddp", "run.devices=2", *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "find_unused_parameters" not in done.stderr
    return [json.loads((run / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_share_the_work(clip_list, tiny_file, tmp_path):
    both = launch(
        tmp_path, tiny_file, tmp_path / "run", f'data.lists=["{clip_list}"]', "run.steps=4",
        f'data.validation=["{clip_list}"]', "run.validate_every=4",
    )  # fmt: skip
    assert both[0]["weights"] == both[1]["weights"]
    # 16 clips, 2 processes, 4 a batch: an epoch is 2 steps.
    for epoch in range(2):
        heard = [
            caption
            for rank in both
            for batch in rank["heard"][2 * epoch : 2 * epoch + 2]
            for caption in batch
        ]
        assert len(heard) == 16 and len(set(heard)) == 16
    content = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert content["processes"] == 2 and content["global_step"] == 4
    records = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [2, 4, 4] and "sdri" in records[-1]


@pytest.mark.slow
def test_two_processes_go_on_exactly(clip_list, tiny_file, tmp_path, audiosep):
    assert audiosep("shards", clip_list, "-o", "shards", "--clips", 2, "--shortest", 0.1)[0] == 0
    data = [f'data.shards=["{tmp_path / "shards"}"]', "data.workers=2"]
    launch(tmp_path, tiny_file, tmp_path / "whole", *data, "run.steps=6")
    for steps in (3, 6):
        launch(tmp_path, tiny_file, tmp_path / "cut", *data, f"run.steps={steps}")
    whole, cut = (torch.load(tmp_path / run / LAST, weights_only=True) for run in ("whole", "cut"))
    for part in ("state_dict", "current_model_state"):
        for name, value in whole[part].items():
            assert torch.equal(value, cut[part][name]), name
