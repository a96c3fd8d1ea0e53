"""Configurations: what ships loads, what is wrong is named."""

import pytest

from audiosep_training.config.files import config_names, load_config
from audiosep_training.config.schema import ConfigError, TrainingConfig, differing_field
from audiosep_training.systems import SYSTEMS


@pytest.mark.parametrize("name", config_names())
def test_what_ships_loads(name):
    config = load_config(name)
    assert config.name == config.network.name == name and config.about
    assert config.done or config.untrained


def test_the_references_facts():
    released = load_config("audiosep-base")
    assert (released.network.n_fft, released.network.hop_length) == (2048, 320)
    assert (released.data.segment_samples, released.data.batch) == (160_000, 12)
    assert (released.mixing.lower_db, released.mixing.higher_db) == (-10, 10)
    adamw = released.optimiser
    assert (adamw.rate, adamw.betas, adamw.weight_decay) == (1e-3, (0.9, 0.999), 0)
    assert adamw.amsgrad and adamw.loss == "l1" and released.query.text_ratio == 1
    paper = load_config("audiosep-paper")
    assert paper.network.n_fft == 1024
    assert paper.data.batch * paper.run.devices * paper.run.nodes == 96
    dcase = load_config("dcase2024-baseline")
    network = dcase.network
    assert (network.sample_rate, network.n_fft, network.hop_length) == (16_000, 1024, 160)
    assert (dcase.run.steps, dcase.data.batch) == (200_000, 16)


def test_what_is_done():
    """Every comparison system has a configuration of its name."""
    assert all(load_config(name).done for name in config_names())
    assert set(SYSTEMS) < set(config_names())
    for name in set(SYSTEMS) - {"wiener"}:
        assert load_config(name).system.name == name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.bach=3", r"mini\.toml: data\.bach .* did you mean data\.batch\?"),
        ("data.batch=three", "data.batch must be an integer, not 'three'"),
        ("data.batch=0", "data.batch must be above 0"),
        ("data.check=1", "data.check must be true or false"),
        ("network.widths=[1]", "halved|one number for each"),
        ("network.preset=big", "network.preset must be one of"),
        ("query.encoder=gpt", "query.encoder must be one of clap, clip, sentence, own"),
        ("query.text_ratio=2", "query.text_ratio must lie in 0…1"),
        ("mixing.max_mix_num=1", "mixing.max_mix_num must be at least 2"),
        ("query.text_ratio=0.5", "must be 1 with the encoder 'sentence', which knows no sounds"),
        ("query.video_ratio=0.5", "must be 0 with the encoder 'sentence'"),
        ("mixing.rule=loud", "mixing.rule must be one of energy, peak, factors"),
        ("mixing.factors=[2, 1]", "mixing.factors must be two numbers, the least first"),
        ("optimiser.kind=sgd", "optimiser.kind must be one of adamw, rmsprop"),
        ("system.options=3", "system.options must be a table, not 3"),
        ("run.strategy=fsdp", "optimiser.ema must be 0 with run.strategy 'fsdp'"),
        ("data=3", "data must hold fields, not 3"),
        ("steps", "write section.field=value"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("mini", [override])


def test_files_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[network]\npreset = "audiosep-paper"\nhop_length = 256\n')
    config = load_config(str(path), ["run.steps=7", "optimiser.betas=[0.8, 0.9]"])
    assert (config.name, config.network.hop_length, config.network.n_fft) == ("mine", 256, 1024)
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
    assert differing_field(stored, streamed) == ("data.workers", 0, 3)
    changed = load_config("mini", ["optimiser.rate=1.0"])
    assert differing_field(stored, changed) == ("optimiser.rate", 3e-3, 1.0)
    assert isinstance(mini, TrainingConfig)
