"""CLAP's audio branch without laion-clap."""

import json

import numpy as np
import pytest
import soxr
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.audio_utils import mel_filter_bank

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_export.towers.clap_audio import ClapAudio, audio_weights
from audiosep_training.config.schema import QueryConfig
from audiosep_training.query_encoders import open_encoder
from audiosep_training.query_encoders.clap import ClapEncoder
from audiosep_training.query_encoders.resampling import resample
from audiosep_training.run.log import LOG
from audiosep_training.run.train import train


@pytest.fixture(scope="module")
def weights(names, fill_values):
    made = {}
    for name, shape in names("clap-audio-keys").items():
        if name.endswith("melW"):
            mel = mel_filter_bank(513, 64, 50, 14_000, 48_000, norm="slaney", mel_scale="slaney")
            made[name] = torch.from_numpy(mel.astype(np.float32))
        else:
            made[name] = torch.as_tensor(np.asarray(fill_values(name, shape)), dtype=torch.float32)
    return made


@torch.no_grad()
def test_equals_laion_clap(weights, reference):
    values, net = reference("clap-audio"), ClapAudio(weights)
    sounds = [values[f"waveform_48k_{name}"].float()[None] / 32_768 for name in "ab"]
    features = net.features(sounds[0])[0, 0, ::8]
    assert values.error("features_every_8th_frame_of_a", features) <= 1e-5
    assert values.error("embedding", torch.cat([net(sound) for sound in sounds])) <= 1e-5


@pytest.mark.parametrize(
    ("prefix", "wrapped"), [("", False), ("module.", True), ("query_encoder.model.", True)]
)
def test_weights_are_found_in_every_checkpoint(prefix, wrapped):
    """laion-clap's own, and the released AudioSep's, which holds it beside the network."""
    state = {
        f"{prefix}audio_branch.norm.weight": torch.ones(1),
        f"{prefix}audio_projection.0.bias": torch.ones(2),
        f"{prefix}text_branch.norm.weight": torch.ones(3),
        "ss_model.base.bn0.bias": torch.ones(4),
    }
    found = audio_weights({"state_dict": state, "epoch": 3} if wrapped else state)
    assert set(found) == {"audio_branch.norm.weight", "audio_projection.0.bias"}


def test_other_weights_are_refused(weights):
    with pytest.raises(CheckpointError, match=r"holds no 'audio_branch\.logmel"):
        ClapAudio({})
    broken = {**weights, "audio_projection.0.bias": torch.zeros(7)}
    with pytest.raises(CheckpointError, match=r"weights are not CLAP's \(size mismatch"):
        ClapAudio(broken)


@pytest.fixture(scope="module")
def small_clap(names, tmp_path_factory):
    """An eighth of CLAP, text and audio branch, as laion-clap saves it, with its vocabulary."""
    folder = tmp_path_factory.mktemp("clap")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=marks, show_progress=False
    )
    tokenizer.train_from_iterator(["tone number"], trainer)
    tokenizer.model.save(str(folder))
    torch.manual_seed(0)
    config = transformers.ClapTextConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=24, num_hidden_layers=1,
        num_attention_heads=12, intermediate_size=24, max_position_embeddings=514,
        type_vocab_size=1, projection_dim=64, projection_hidden_act="relu", pad_token_id=1,
    )  # fmt: skip
    state = {}
    for name, value in transformers.ClapTextModelWithProjection(config).state_dict().items():
        name = name.replace("text_model.", "text_branch.")
        name = name.replace("projection.linear1", "projection.0")
        state[name.replace("projection.linear2", "projection.2")] = value
    for name, shape in names("clap-audio-keys").items():
        if name.endswith("melW"):
            state[name] = torch.rand(shape)
        elif ".layers.2.blocks." not in name or ".layers.2.blocks.0." in name:
            table = name.endswith("bias_table")
            small = [size if table or size < 128 else size // 8 for size in shape]
            state[name] = 0.3 * torch.randn(small) if "var" not in name else torch.ones(small)
    state = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": state, "epoch": 15}, folder / "clap.pt")
    return folder


def test_sounds_ask_beside_texts(small_clap):
    encoder = open_encoder(
        QueryConfig(
            checkpoint=str(small_clap / "clap.pt"), vocabulary=str(small_clap), text_ratio=0.5
        )
    )
    sounds = torch.randn(3, 16_000)
    asked = encoder.embed_sounds(sounds, 32_000)
    assert asked.shape == (3, 64) and encoder.embed_texts(["tone"]).shape == (1, 64)
    assert torch.allclose(asked.norm(dim=1), torch.ones(3), atol=1e-5)
    alone = torch.cat([encoder.embed_sounds(sound[None], 32_000) for sound in sounds])
    assert torch.allclose(asked, alone, atol=1e-5) and not torch.allclose(asked[0], asked[1])


def test_hybrid_training(small_clap, clip_list, tiny, tmp_path, monkeypatch):
    """Half of the batches ask by the targets' own sounds."""
    heard = []
    embed = ClapEncoder.embed_sounds

    def noted(encoder, audio, sample_rate):
        heard.append(sample_rate)
        return embed(encoder, audio, sample_rate)

    monkeypatch.setattr(ClapEncoder, "embed_sounds", noted)
    config = tiny(
        f'data.lists=["{clip_list}"]', "query.encoder=clap", "query.text_ratio=0.5",
        f"query.checkpoint={small_clap / 'clap.pt'}", f"query.vocabulary={small_clap}",
        "network.condition_size=64", "run.steps=8", "run.log_every=1",
    )  # fmt: skip
    assert train(config, tmp_path) is None
    assert 1 <= len(heard) <= 7 and set(heard) == {32_000}
    lines = (tmp_path / LOG).read_text().splitlines()
    assert all(np.isfinite(json.loads(line)["loss"]) for line in lines)


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100, 48_000])
def test_resampling_agrees_with_soxr(rate, rng):
    """On what both keep: sound up to six tenths of the lower Nyquist frequency."""
    spectrum = rng.standard_normal(rate // 2 + 1) * np.exp(2j * np.pi * rng.random(rate // 2 + 1))
    spectrum[int(0.3 * min(rate, 48_000)) :] = 0
    sound = np.fft.irfft(spectrum).astype(np.float32)
    sound /= np.abs(sound).max()
    mine = resample(torch.from_numpy(sound)[None], rate, 48_000)[0].numpy()
    other = soxr.resample(sound, rate, 48_000)
    assert len(mine) == 48_000
    middle = slice(1000, -1000)
    assert np.std(mine[middle] - other[middle]) < 1e-2 * np.std(other)
