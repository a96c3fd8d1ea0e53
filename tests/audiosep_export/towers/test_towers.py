"""Towers that hear and see, in ONNX; and models that are asked by a sound or a video."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import transformers
from transformers.audio_utils import mel_filter_bank

from audiosep_core import Query, QueryError, Separator
from audiosep_core.errors import AudioFileError
from audiosep_core.model.checkpoint import CheckpointError
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.network import build_network
from audiosep_core.query.examples import power_spectrogram
from audiosep_core.video import read_frames
from audiosep_export.towers.clap_audio import ClapAudio
from audiosep_export.towers.clip import export_clip_image
from plugin_bridge.live.engine import StreamingSeparator

SIZE = 16
CONFIG = SeparatorConfig(
    name="small", n_fft=768, hop_length=320, widths=(8,) * 6, condition_size=SIZE, bands=3
)


def clap_state():
    """A small HTSAT with random weights, named as in laion-clap."""
    config = transformers.ClapAudioConfig(
        window_size=8, patch_embeds_hidden_size=8, hidden_size=64, depths=[1, 1, 2, 1],
        num_attention_heads=[1, 2, 2, 4], num_hidden_layers=4, projection_dim=SIZE,
        enable_fusion=False,
    )  # fmt: skip
    torch.manual_seed(0)
    state = {}
    for name, value in transformers.ClapAudioModelWithProjection(config).state_dict().items():
        name = name.replace("audio_model.audio_encoder.", "audio_branch.")
        for old, new in (
            ("audio_projection.linear1", "audio_projection.0"), ("batch_norm", "bn0"),
            ("audio_projection.linear2", "audio_projection.2"), ("layernorm_before", "norm1"),
            ("attention.output.dense", "attn.proj"), ("layernorm_after", "norm2"),
            ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"),
            ("attention.self.relative_position", "attn.relative_position"),
        ):  # fmt: skip
            name = name.replace(old, new)
        state[name] = value if "var" in name else 2 * value
    for name in [name for name in state if ".attention.self.query." in name]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("attention.self.query", "attn.qkv")] = torch.cat(parts)
    mel = mel_filter_bank(513, 64, 50, 14_000, 48_000, norm="slaney", mel_scale="slaney")
    state["audio_branch.logmel_extractor.melW"] = torch.from_numpy(mel.astype(np.float32))
    return state


@pytest.fixture(scope="module")
def clip_model():
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "num_attention_heads": 4, "vocab_size": 60},
        vision_config={**small, "num_attention_heads": 4, "image_size": 32, "patch_size": 16},
        projection_dim=SIZE,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory, clip_model):
    folder = tmp_path_factory.mktemp("towers")
    torch.save({"state_dict": clap_state()}, folder / "clap.pt")
    clip_model.save_pretrained(folder / "clip")
    torch.manual_seed(0)
    state = build_network(CONFIG).state_dict()
    torch.save({"state_dict": state, "config": CONFIG.to_dict()}, folder / "ours.pt")
    rng = np.random.default_rng(0)
    time = np.arange(3 * 44_100) / 44_100
    soundfile.write(folder / "dog.wav", np.stack([np.sin(900 * time)] * 2, 1) * 0.5, 44_100)
    soundfile.write(folder / "hiss.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "song.wav", 0.1 * rng.standard_normal((48_000, 2)), 48_000)
    return folder


@pytest.fixture
def model(audiosep, files, tmp_path):
    options = ["--audio-encoder", files / "clap.pt", "--image-encoder", files / "clip"]
    code, _, error = audiosep("export", files / "ours.pt", "-o", "model", *options)
    assert code == 0, error
    return tmp_path / "model"


def test_a_sound_is_heard_as_pytorch_hears_it(model, files):
    (found,) = Separator(model, device="cpu").encoder.embed([Query(like=files / "dog.wav").asked])
    audio, _ = soundfile.read(files / "dog.wav", dtype="float32")
    import soxr

    mono = soxr.resample(audio.mean(1), 44_100, 48_000)
    with torch.no_grad():
        expected = ClapAudio(clap_state())(torch.from_numpy(mono)[None])[0].numpy()
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert 1 - found @ expected < 1e-6
    power = power_spectrogram(mono)
    window = torch.hann_window(1024)
    copies = torch.from_numpy(np.pad(np.tile(mono, 3), (0, 480_000 - 3 * len(mono))))
    spectrum = torch.stft(copies, 1024, 480, window=window, return_complex=True)
    assert np.allclose(power, spectrum.abs().square().T.numpy(), rtol=1e-3, atol=1e-3)


def test_a_long_sound_is_heard_in_pieces(model, files, tmp_path):
    """Ten seconds each; what is left counts from a second on."""
    rng = np.random.default_rng(1)
    audio = 0.1 * rng.standard_normal(25 * 48_000)
    pieces = [audio[:480_000], audio[480_000:960_000], audio[960_000:]]
    encoder = Separator(model, device="cpu").encoder

    def embedded(sound):
        soundfile.write(tmp_path / "x.wav", sound, 48_000, subtype="FLOAT")
        path = tmp_path / f"{len(list(tmp_path.glob('*.wav')))}.wav"
        (tmp_path / "x.wav").rename(path)
        return encoder.embed([Query(like=path).asked])[0]

    mean = np.mean([embedded(piece) for piece in pieces], 0)
    whole = embedded(audio)
    assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.allclose(embedded(audio[: 480_000 + 40_000]), embedded(pieces[0]), atol=1e-6)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_video_and_a_picture_are_seen_as_pytorch_sees_them(model, clip_model, tmp_path):
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=3:s=96x64:r=10"]
    subprocess.run([*line, "-c:v", "ffv1", str(tmp_path / "v.mkv")], check=True)
    subprocess.run([*line, "-frames:v", "1", str(tmp_path / "p.png")], check=True)
    encoder = Separator(model, device="cpu").encoder
    found = encoder.embed([Query(video=tmp_path / name).asked for name in ("v.mkv", "p.png")])
    processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    for row, name, count in zip(found, ("v.mkv", "p.png"), (3, 1), strict=True):
        frames = list(read_frames(tmp_path / name, 32))
        assert len(frames) == count
        pixels = torch.as_tensor(processor(images=frames, return_tensors="pt")["pixel_values"])
        with torch.no_grad():
            pooled = clip_model.vision_model(pixel_values=pixels).pooler_output
            each = torch.nn.functional.normalize(clip_model.visual_projection(pooled), dim=1)
        mean = each.mean(0)
        assert 1 - row @ (mean / mean.norm()).numpy() < 1e-5


def test_the_command_separates_by_a_sound(model, files, audiosep, tmp_path):
    options = ["--model", model, "--device", "cpu", "-o", "stems", "--residual"]
    code, out, error = audiosep(
        "separate", files / "song.wav", "--like", files / "dog.wav", "--like", files / "hiss.wav",
        "--gain", "hiss=-6", *options,
    )  # fmt: skip
    assert code == 0, error
    names = [line.rpartition("/")[2] for line in out.split()]
    assert names == ["dog.wav", "hiss.wav", "residual.wav"]
    song, _ = soundfile.read(files / "song.wav")
    dog, rate = soundfile.read(tmp_path / "stems" / "song" / "dog.wav")
    assert dog.shape == song.shape and rate == 48_000 and dog.any()
    asked = [Query(like=files / name) for name in ("dog.wav", "hiss.wav")]
    by_hand = Separator(model, device="cpu").separate(song.T, 48_000, asked)
    assert np.allclose(by_hand["dog"].T, dog, atol=1e-4)


def test_another_sound_under_the_same_name_asks_for_something_else(
    model, files, audiosep, tmp_path
):
    example, stem = tmp_path / "mine.wav", tmp_path / "stems" / "song" / "mine.wav"
    options = ["--model", model, "--device", "cpu", "-o", "stems", "--resume"]
    line = ["separate", files / "song.wav", "--like", example, *options]
    encoder = Separator(model, device="cpu").encoder
    shutil.copy(files / "dog.wav", example)
    asked = Query(like=example).asked
    before = encoder.embed([asked])
    assert audiosep(*line)[0] == 0
    code, out, error = audiosep(*line, "--json")
    assert code == 0 and json.loads(out)["files"][0]["resumed"], error
    made = stem.read_bytes()
    shutil.copy(files / "hiss.wav", example)
    # It is not taken for done, and what another sound asked for is not replaced unasked.
    code, _, error = audiosep(*line)
    assert code == 2 and "exists" in error and stem.read_bytes() == made
    assert audiosep(*line, "--overwrite")[0] == 0
    assert stem.read_bytes() != made
    assert not np.allclose(encoder.embed([asked]), before)


def test_live_streams_take_a_sound(model, files):
    live = StreamingSeparator(Query("my dog", like=files / "dog.wav"), 32_000, 1, model=model)
    assert live.settings.texts == ["my dog"]
    before = live.embeddings
    live.set_queries(Query("my dog", like=files / "hiss.wav"))
    assert not np.allclose(before, live.embeddings)


def test_it_runs_without_pytorch(model, files):
    code = (
        "import sys\n"
        "from audiosep_core import Query, Separator\n"
        "import numpy as np\n"
        f"separator = Separator({str(model)!r}, device='cpu')\n"
        f"query = Query(like={str(files / 'dog.wav')!r})\n"
        "print(sorted(separator.separate(np.ones((1, 9000), np.float32), 32000, query)))\n"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "['dog', 'residual']", done.stderr


def test_what_cannot_ask(model, files, audiosep, tmp_path, clip_model):
    separator = Separator(device="cpu")
    for query, what in ((Query(like=files / "dog.wav"), "hear"), (Query(video="x.mp4"), "see")):
        with pytest.raises(QueryError, match=f"the model mini has no .* and cannot {what}"):
            separator.separate(np.ones((1, 9000), np.float32), 32_000, query)
    heard = Separator(model, device="cpu")
    with pytest.raises(QueryError, match="silent"):
        heard.encoder.embed([Query(like=files / "silent.wav").asked])
    with pytest.raises(AudioFileError, match=r"none\.wav"):
        heard.encoder.embed([Query(like=tmp_path / "none.wav").asked])
    with pytest.raises(QueryError, match="by a sound or by a video"):
        Query(like="a.wav", video="b.mp4")
    code, _, error = audiosep("separate", files / "song.wav", "-o", "s")
    assert code == 2 and "--query" in error and "--like" in error
    code, _, error = audiosep(
        "separate", files / "song.wav", "--like", files / "dog.wav", "-o", "stems"
    )
    assert code == 2 and "exported with --audio-encoder" in error and "Traceback" not in error
    for option, value, message in (
        ("--audio-encoder", files / "ours.pt", "holds no audio branch of CLAP"),
        ("--image-encoder", files / "ours.pt", "hold no 'vision_model"),
        ("--image-encoder", tmp_path, "holds no CLIP"),
    ):
        code, _, error = audiosep("export", files / "ours.pt", "-o", "other", option, value)
        assert code != 0 and message in error and "Traceback" not in error, error
        assert not (tmp_path / "other").exists()
    with pytest.raises(CheckpointError, match="image tower's weights are not CLIP's"):
        state = dict(clip_model.state_dict())
        state["vision_model.embeddings.class_embedding"] = torch.zeros(3)
        export_clip_image(state, tmp_path, heads=4)


def test_openais_names(clip_model, tmp_path):
    """The same tower however its weights are named."""
    renamed = {}
    for name, value in clip_model.state_dict().items():
        if not name.startswith(("vision_model.", "visual_projection.")) or "position_ids" in name:
            continue
        for old, new in (
            ("vision_model.embeddings.patch_embedding", "visual.conv1"),
            ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
            ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
            ("vision_model.pre_layrnorm", "visual.ln_pre"), ("layer_norm", "ln_"),
            ("vision_model.post_layernorm", "visual.ln_post"),
            ("vision_model.encoder.layers", "visual.transformer.resblocks"),
            ("self_attn.out_proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
        ):  # fmt: skip
            name = name.replace(old, new)
        if name == "visual_projection.weight":
            name, value = "visual.proj", value.T
        renamed[name] = value
    for name in [name for name in renamed if ".self_attn.q_proj." in name]:
        parts = [renamed.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        joint = name.replace("self_attn.q_proj.", "attn.in_proj_")
        renamed[joint] = torch.cat(parts)
    graphs = []
    for number, state in enumerate((clip_model.state_dict(), renamed)):
        (tmp_path / str(number)).mkdir()
        assert export_clip_image(state, tmp_path / str(number), heads=4) < 1e-5
        graphs.append((tmp_path / str(number) / "image_encoder.onnx").read_bytes())
    assert graphs[0] == graphs[1]


def test_clapscore_tells_how_well_a_stem_fits_its_query(model, files, monkeypatch):
    """The cosine of what is heard and what is asked, without a target."""
    from audiosep_core.files.items import MixtureAndTarget
    from audiosep_training.evaluation.measures import scores

    encoder = Separator(model, device="cpu").encoder
    dog, rate = soundfile.read(files / "dog.wav", dtype="float32", always_2d=True)
    heard = encoder.embed([Query(like=files / "dog.wav").asked])[0]
    other = np.roll(heard, 1) - heard * (np.roll(heard, 1) @ heard)
    texts = {"it": heard, "other": other / np.linalg.norm(other)}
    monkeypatch.setattr(
        type(encoder), "embed", lambda self, queries: np.stack([texts[text] for text in queries])
    )
    sounds = MixtureAndTarget(dog.T, dog.T, rate)
    for query, expected in (("it", 1.0), ("other", 0.0)):
        found = scores.measure(sounds, dog.T, ["clapscore"], query, str(model))
        assert found["clapscore"] == pytest.approx(expected, abs=1e-4)
    assert scores.measure(sounds, 0 * dog.T, ["clapscore"], "it", str(model)) == {"clapscore": None}


def test_clapscore_needs_towers(model, files, audiosep, tmp_path):
    (tmp_path / "stems").mkdir()
    for name in ("mixture", "rain"):
        shutil.copy(files / "song.wav", tmp_path / "stems" / f"{name}.wav")
    options = ["--data", "stems", "--compare", "unprocessed", "--metric", "clapscore"]
    for towers in ([], ["--towers", model]):
        code, _, error = audiosep("evaluate", "stems", *options, *towers)
        assert code == 2 and "exported with --text-encoder and --audio-encoder" in error
