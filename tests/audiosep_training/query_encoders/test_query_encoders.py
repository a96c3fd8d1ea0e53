"""Query encoders: what they compute, what they remember, what they refuse."""

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from audiosep_core.errors import AudioSepError, UsageError
from audiosep_core.query.encoder import bundled_text_encoder
from audiosep_core.video import read_frames
from audiosep_training.config.schema import QueryConfig
from audiosep_training.query_encoders import open_encoder
from audiosep_training.query_encoders.clap import ClapEncoder
from audiosep_training.query_encoders.clip import ClipEncoder
from audiosep_training.query_encoders.sentence import SentenceEncoder

TEXTS = ["a dog barks", "rain", "a dog barks", "café ambiance with 3 people"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOSEP_CACHE", str(tmp_path / "cache"))


def vocabulary(folder, marks, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=marks, show_progress=False,
        **options,
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer.get_vocab_size()


@pytest.fixture
def clap(tmp_path):
    """A checkpoint in laion-clap's names, with random weights."""
    words = vocabulary(tmp_path, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    config = transformers.ClapTextConfig(
        vocab_size=words, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=514, type_vocab_size=1,
        projection_dim=16, projection_hidden_act="relu", pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    module = transformers.ClapTextModelWithProjection(config).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    names = {
        "text_model.": "text_branch.",
        "text_projection.linear1.": "text_projection.0.",
        "text_projection.linear2.": "text_projection.2.",
    }
    state = {}
    for name, value in module.state_dict().items():
        for new, old in names.items():
            if name.startswith(new) and not name.endswith("_ids"):
                state[f"module.{old}{name.removeprefix(new)}"] = value
    torch.save({"state_dict": state}, tmp_path / "clap.pt")
    return tmp_path / "clap.pt", module


def test_clap_texts_one_at_a_time_or_together(clap, tmp_path):
    path, module = clap
    encoder = ClapEncoder(path, tmp_path, heads=4)
    together = encoder.embed_texts(TEXTS)
    assert together.shape == (4, 16) and np.array_equal(together[0], together[2])
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, row in zip(TEXTS, together, strict=True):
        ids = torch.tensor([encoder._tokenizer.encode(text).ids])
        with torch.no_grad():
            alone = module(input_ids=ids, attention_mask=torch.ones_like(ids)).text_embeds
        assert np.allclose(torch.nn.functional.normalize(alone)[0], row, atol=1e-5)


def test_an_epoch_does_not_encode_again(clap, tmp_path, monkeypatch):
    path, _ = clap
    first = ClapEncoder(path, tmp_path, heads=4)
    expected = first.embed_texts(TEXTS)
    again = ClapEncoder(path, tmp_path, heads=4)
    calls = []
    encode = ClapEncoder._encode_texts
    monkeypatch.setattr(
        ClapEncoder, "_encode_texts", lambda self, texts: calls.append(texts) or encode(self, texts)
    )
    assert np.array_equal(first.embed_texts(TEXTS), expected)
    assert np.array_equal(again.embed_texts(TEXTS), expected) and not calls
    again.embed_texts(["something new", *TEXTS])
    assert calls == [["something new"]]


def test_what_is_kept_in_memory_is_bounded(clap, tmp_path, monkeypatch):
    monkeypatch.setattr("audiosep_training.query_encoders.base._MOST_RECENT", 3)
    encoder = ClapEncoder(clap[0], tmp_path, heads=4)
    texts = [f"sound {number}" for number in range(8)]
    together = encoder.embed_texts(texts)
    assert len(encoder._recent) == 3
    # What is used stays, whatever else comes.
    for text in texts:
        encoder.embed_texts([texts[0], text])
    assert f"text\0{texts[0]}" in encoder._recent and len(encoder._recent) == 3
    assert np.array_equal(encoder.embed_texts(texts), together)


@pytest.mark.slow
def test_nothing_heavy_is_imported_beforehand():
    # The lists of transformers' models come with torchmetrics; the models themselves do not.
    names = "transformers.modeling_utils", "webdataset", "audiosep_training.query_encoders.clap"
    code = (
        "import sys, audiosep_training.commands.train;"
        "print([m for m in ('torch', 'lightning') if m in sys.modules]);"
        "import audiosep_training.run.train;"
        f"print([m for m in {names} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_the_sentence_encoder_is_what_ships():
    encoder = SentenceEncoder()
    assert encoder.size == 384 and copy.deepcopy(encoder) is encoder
    expected = bundled_text_encoder().encode(TEXTS)
    assert np.allclose(encoder.embed_texts(TEXTS), expected, atol=1e-6)
    with pytest.raises(UsageError, match=r"knows no sounds; set query\.text_ratio = 1"):
        encoder.embed_sounds(torch.zeros(1, 100), 32_000)


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    words = vocabulary(folder, ["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>")
    # CLIP's marks are its last two tokens.
    table = json.loads((folder / "vocab.json").read_text())
    order = sorted(table, key=lambda token: ("<|" in token, token == "<|endoftext|>", table[token]))
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(order)}))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small["num_attention_heads"] = 4
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": words, "eos_token_id": words - 1,
                     "bos_token_id": words - 2},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder, model


def features(output):
    """The embedding, whether transformers gives it bare or within an output."""
    return getattr(output, "pooler_output", output)


def test_clip_texts(clip):
    folder, model = clip
    encoder = ClipEncoder(folder)
    found = encoder.embed_texts(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        ids = torch.tensor([encoder._tokenizer.encode(text).ids])
        with torch.no_grad():
            expected = features(model.get_text_features(input_ids=ids))
        assert np.allclose(torch.nn.functional.normalize(expected)[0], row, atol=1e-5)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_video_is_the_mean_of_its_frames(clip, tmp_path, monkeypatch):
    folder, model = clip
    video = tmp_path / "video.mkv"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=4:s=96x64:r=10"]
    subprocess.run([*command, "-c:v", "ffv1", str(video)], check=True)
    frames = read_frames(video, 32)
    assert frames.shape == (4, 32, 32, 3) and len(np.unique(frames[0] != frames[3])) == 2
    encoder = ClipEncoder(folder)
    (found,) = encoder.embed_videos([video])
    processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    pixels = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        each = features(model.get_image_features(pixel_values=torch.as_tensor(pixels)))
    mean = torch.nn.functional.normalize(each).mean(0)
    assert np.allclose(mean / mean.norm(), found, atol=1e-4)
    monkeypatch.setattr("audiosep_training.query_encoders.clip.read_frames", None)
    assert np.array_equal(ClipEncoder(folder).embed_videos([video])[0], found)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (QueryConfig(), r"query\.checkpoint is not set; give laion-clap's"),
        (QueryConfig(encoder="clip", checkpoint="nowhere"), "nowhere does not exist"),
        (QueryConfig(encoder="clip", checkpoint="."), "holds no CLIP"),
    ],
)
def test_missing_weights_are_named(query, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioSepError, match=message):
        open_encoder(query)


def test_raw_embeddings_are_clipseps(clip):
    """As long as CLIP gives them, of the three frames in the middle of a video."""
    folder, _ = clip
    encoder = ClipEncoder(folder, raw=True)
    found = encoder.embed_texts(TEXTS)
    unit = ClipEncoder(folder).embed_texts(TEXTS)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    assert np.allclose(found / lengths, unit, atol=1e-5) and not np.allclose(lengths, 1, atol=0.1)
    frames = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.full((32, 32, 3), 20, np.uint8)
    assert encoder._chosen(frames)[:, 0, 0, 0].tolist() == [80, 100, 120]
    assert encoder._chosen(frames[:2]).shape == (2, 32, 32, 3)
    each = [encoder.embed_frames(frame[None]) for frame in frames[:3]]
    assert np.allclose(encoder.embed_frames(frames[:3]), np.mean(each, 0), atol=1e-4)
