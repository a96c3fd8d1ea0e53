"""Two processes train one network, over gloo."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiosep_training.run.checkpoints import LAST

README = Path(__file__).resolve().parents[3] / "README.md"
(DOCUMENTED,) = re.findall(r"^torchrun --.*", README.read_text(encoding="utf-8"), re.M)
PROCESS = """
import hashlib, json, os, sys
from pathlib import Path
from audiosep_training.config.files import load_config
from audiosep_training.run.module import SeparationModule
from audiosep_training.run.train import train

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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(folder, tiny_file, shards, *fields):
    """The line of the README, on two CPU processes and a network that fits in a test."""
    values = {"8": "2", "audiosep-paper": str(tiny_file), "shards": str(shards), "runs/paper": "r"}
    line = [values.get(word, word) for word in shlex.split(DOCUMENTED)]
    line += [word for field in fields for word in ("--set", field)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *line[1:]],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PET_MASTER_PORT": str(free_port()),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.slow
def test_the_documented_line_runs(clip_list, tiny_file, tmp_path, audiosep):
    assert set(shlex.split(DOCUMENTED)) >= {"8", "audiosep-paper", "shards", "runs/paper"}
    assert audiosep("shards", clip_list, "-o", "shards", "--clips", 2, "--shortest", 0.1)[0] == 0
    shards = tmp_path / "shards"
    done = torchrun(tmp_path, tiny_file, shards, "run.devices=2", "run.strategy=ddp", "run.steps=2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(tmp_path / "r" / LAST, weights_only=True)["processes"] == 2


@pytest.mark.slow
def test_processes_that_would_each_train_all_are_refused(clip_list, tiny_file, tmp_path, audiosep):
    assert audiosep("shards", clip_list, "-o", "shards", "--clips", 2, "--shortest", 0.1)[0] == 0
    # Lightning takes one process of a CPU where it may choose.
    done = torchrun(tmp_path, tiny_file, tmp_path / "shards", "run.devices=0")
    assert done.returncode != 0 and not (tmp_path / "r" / LAST).exists()
    assert "torchrun started 2 processes, [run] describes 1; set run.devices" in done.stderr


def launch(folder, tiny_file, run, *overrides):
    script = folder / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), str(script)]
    done = subprocess.run(
        [*command, str(tiny_file), str(run), "run.strategy=ddp", "run.devices=2", *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
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
