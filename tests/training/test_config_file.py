"""Configurations: what ships loads, what is wrong is named."""

import pytest

from training.config import ConfigError, TrainingConfig, differing_field
from training.config_file import config_names, load_config


@pytest.mark.parametrize("name", config_names())
def test_what_ships_loads(name):
    config = load_config(name)
    assert config.name == config.network.name == name and config.about
    assert config.done or config.untrained


def test_the_references_facts():
    released = load_config("audiosep-base")
    assert (released.network.window, released.network.hop) == (2048, 320)
    assert (released.data.segment_samples, released.data.batch) == (160_000, 12)
    assert (released.mixing.lower_db, released.mixing.higher_db) == (-10, 10)
    adamw = released.optimiser
    assert (adamw.rate, adamw.betas, adamw.weight_decay) == (1e-3, (0.9, 0.999), 0)
    assert adamw.amsgrad and adamw.loss == "l1" and released.query.text_ratio == 1
    paper = load_config("audiosep-paper")
    assert paper.network.window == 1024
    assert paper.data.batch * paper.run.devices * paper.run.nodes == 96
    dcase = load_config("dcase2024-baseline")
    network = dcase.network
    assert (network.sample_rate, network.window, network.hop) == (16_000, 1024, 160)
    assert (dcase.run.steps, dcase.data.batch) == (200_000, 16)


def test_what_is_done():
    done = {name for name in config_names() if load_config(name).done}
    assert {"audiosep-base", "audiosep-paper", "mini", "lass-net", "wiener"} <= done
    for name in ("clipsep", "uss-resunet30", "uss-resunet60", "segan", "wave-unet"):
        assert not load_config(name).done


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.bach=3", r"mini\.toml: data\.bach .* did you mean data\.batch\?"),
        ("data.batch=three", "data.batch must be a whole number, not 'three'"),
        ("data.batch=0", "data.batch must be above 0"),
        ("data.check=1", "data.check must be true or false"),
        ("network.widths=[1]", "widths must be six"),
        ("network.preset=big", "network.preset must be one of"),
        ("query.encoder=gpt", "query.encoder must be one of clap, clip, sentence, bert"),
        ("query.text_ratio=2", "query.text_ratio must lie in 0…1"),
        ("mixing.max_mix_num=1", "mixing.max_mix_num must be at least 2"),
        ("query.text_ratio=0.5", "must be 1 with the encoder 'sentence', which knows no sounds"),
        ("query.video=true", "must be false with the encoder 'sentence'"),
        ("query.tune=true", "query.tune is for the encoder 'bert'"),
        ("run.strategy=fsdp", "optimiser.ema must be 0 with run.strategy 'fsdp'"),
        ("data=3", "data must be a section"),
        ("steps", "write section.field=value"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("mini", [override])


def test_files_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[network]\npreset = "mini"\nhop = 256\n')
    config = load_config(str(path), ["run.steps=7", "optimiser.betas=[0.8, 0.9]"])
    assert (config.name, config.network.hop, config.network.bands) == ("mine", 256, 3)
    assert (config.run.steps, config.optimiser.betas) == (7, (0.8, 0.9))
    path.write_text("steps = ")
    with pytest.raises(ConfigError, match=r"mine\.toml cannot be read as TOML"):
        load_config(str(path))
    with pytest.raises(ConfigError, match=r"no training is called 'huge'; known: .*mini"):
        load_config("huge")


def test_what_makes_another_training():
    mini = load_config("mini")
    stored = mini.to_dict()
    assert differing_field(stored, mini) is None
    free = load_config("mini", ["run.steps=9", "data.workers=3", "data.corpus=elsewhere"])
    assert differing_field(stored, free) is None
    # A shard's readers are its workers.
    streamed = load_config("mini", ['data.shards=["a"]', "data.workers=3"])
    assert differing_field(stored, streamed) == ("data.workers", 1, 3)
    changed = load_config("mini", ["optimiser.rate=1.0"])
    assert differing_field(stored, changed) == ("optimiser.rate", 2e-3, 1.0)
    assert isinstance(mini, TrainingConfig)
