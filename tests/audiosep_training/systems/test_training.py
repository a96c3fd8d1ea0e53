"""Every comparison system is trained, resumed, compared and exported by the commands."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch
import transformers

from audiosep_training.query_encoders.clip import ClipEncoder
from audiosep_training.run.checkpoints import LAST
from audiosep_training.run.log import LOG
from audiosep_training.systems import build_system
from audiosep_training.systems.loading import open_system
from audiosep_training.systems.uss.panns import Cnn14, Cnn14DecisionLevelMax

RATE = 32_000
#: Two of AudioSet's classes; a batch is one clip of each.
NAMES = ("Music", "Rain")
RUN = [
    "run.accelerator=cpu", "run.devices=1", "run.strategy=auto", "run.validate_every=0",
    "run.log_every=1", "data.workers=0", "data.validation_count=1", "optimiser.warmup_steps=0",
    "optimiser.rate=5e-3", "data.batch=2",
]  # fmt: skip
SMALL_WIDTHS = {"lass-net": 6, "clipsep": 7, "clipsep-nit": 7, "uss-resunet30": 6,
                "uss-resunet60": 6, "audioset-unet": 3}  # fmt: skip
#: The text encoder needs its time before captions tell sounds apart.
STEPS = {"lass-net": 70}
PANNS = (4, 4, 4, 4, 4, 8)


def sound(name, rng, seconds):
    time = np.arange(int(seconds * RATE)) / RATE
    if name == "Music":
        return 0.3 * np.sin(2 * np.pi * rng.uniform(2000, 4000) * time)
    return 0.3 * rng.standard_normal(len(time)) * (np.sin(2 * np.pi * 8 * time) > 0.6)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Clips of 2.5 s with names of AudioSet's classes as captions."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    rows = []
    for name in NAMES:
        soundfile.write(folder / f"{name}.wav", sound(name, rng, 2.5), RATE)
        rows.append({"wav": f"{name}.wav", "caption": name})
    (folder / "list.json").write_text(json.dumps({"data": rows}))
    return folder / "list.json"


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """Voicebank-DEMAND in small: a tone that comes and goes, clean and in noise."""
    folder, rng = tmp_path_factory.mktemp("paired"), np.random.default_rng(1)
    for name in ("clean_trainset_28spk_wav", "noisy_trainset_28spk_wav"):
        (folder / name).mkdir()
    for number in range(2):
        time = np.arange(24_000) / 16_000
        clean = 0.4 * np.sin(2 * np.pi * (200 + 20 * number) * time) * (time % 0.5 < 0.3)
        noisy = clean + 0.1 * rng.standard_normal(len(time))
        for name, audio in (("clean", clean), ("noisy", noisy)):
            soundfile.write(folder / f"{name}_trainset_28spk_wav" / f"p{number}.wav", audio, 16_000)
    return folder


@pytest.fixture(scope="module")
def bert_mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert-mini")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "music", "rain"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=130,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def panns(tmp_path_factory):
    """Small PANNs with random weights, as released: {"tagger": path, "detector": path}."""
    folder = tmp_path_factory.mktemp("panns")
    torch.manual_seed(0)
    for name, kind in (("tagger", Cnn14), ("detector", Cnn14DecisionLevelMax)):
        torch.save({"model": kind(PANNS).state_dict()}, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in ("tagger", "detector")}


class TwoWords(ClipEncoder):
    """CLIP's place taken by one random embedding for each text."""

    def __init__(self, folder, raw=False):
        assert raw
        self.device = torch.device("cpu")

    def embed_texts(self, texts):
        rows = [np.random.default_rng(len(text)).standard_normal(512) for text in texts]
        return np.stack(rows).astype(np.float32)


@pytest.fixture
def training(labelled, paired, bert_mini, panns, audiosep, monkeypatch):
    """Options of ``audiosep train`` for each system, small enough for a test."""
    monkeypatch.setattr("audiosep_training.systems.clipsep.recipe.ClipEncoder", TwoWords)

    def options(name, *changes):
        fields = [*RUN, f"run.steps={STEPS.get(name, 30)}"]
        clips = labelled
        if name in SMALL_WIDTHS:
            sizes = {"widths": [4] * SMALL_WIDTHS[name]}
            fields += ["data.segment_samples=16000"]
        if name == "lass-net":
            fields += [f"query.checkpoint={bert_mini}", "optimiser.rate=1e-2"]
        elif name.startswith("clipsep"):
            fields += ["data.segment_samples=32767", f"query.checkpoint={bert_mini}"]
        elif name in SMALL_WIDTHS:
            fields += [f"query.checkpoint={panns['tagger']}", f"query.detector={panns['detector']}"]
            fields += ["data.segment_samples=80000"]
            if name != "audioset-unet":
                sizes["condition"] = "probabilities"
        else:
            sizes = {"layers": 4, "width": 4} if name == "wave-u-net" else {"small": True}
            clips = paired / "list.json"
            audiosep("lists", "voicebank-demand", "--audio", paired, "-o", clips, "--overwrite")
        if "small" not in sizes:
            table = ", ".join(f"{key} = {json.dumps(value)}" for key, value in sizes.items())
            fields.append(f"system.options={{{table}}}")
        sets = [part for field in [*fields, *changes] for part in ("--set", field)]
        return ["train", name, "--list", clips, *sets]

    return options


@pytest.fixture
def small_segan(monkeypatch):
    from audiosep_training.systems.segan import network

    small = network.Shape((4, 8, 8, 8, 8), 4, False, (8,))
    for kind in (network.Segan, network.SeganPlus):
        monkeypatch.setattr(kind.__init__, "__defaults__", (small,))


def losses(run):
    return [json.loads(line)["loss"] for line in (run / LOG).read_text().splitlines()]


SYSTEMS = [*SMALL_WIDTHS, "segan", "segan-plus", "wave-u-net"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_training_resumes_and_is_compared(
    name, training, small_segan, panns, labelled, bert_mini, audiosep, tmp_path
):
    """One long test a system, so that each is trained once."""
    code, _, error = audiosep(*training(name), "--run", "whole")
    assert code == 0, error
    course = losses(tmp_path / "whole")
    assert len(course) == STEPS.get(name, 30) and sum(course[-5:]) / 5 < 0.9 * course[0]

    # Cut in two, it is the same training.
    for steps in (12, STEPS.get(name, 30)):
        code, _, error = audiosep(*training(name, f"run.steps={steps}"), "--run", "cut")
        assert code == 0, error
    one, other = (torch.load(tmp_path / run / LAST, weights_only=True) for run in ("whole", "cut"))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for key, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][key]), key

    # Beside ours, on the same mixtures.
    stems = tmp_path / "stems" / "0"
    stems.mkdir(parents=True)
    rng = np.random.default_rng(2)
    parts = {word: sound(word, rng, 1) for word in NAMES}
    soundfile.write(stems / "mixture.wav", sum(parts.values()), RATE)
    for word, audio in parts.items():
        soundfile.write(stems / f"{word}.wav", audio, RATE)
    target = f"{tmp_path / 'whole' / LAST}"
    if name.startswith("clipsep"):
        target += f"(text={bert_mini})"
    elif name == "uss-resunet30":
        target += f"(examples={labelled.parent}, tagger={panns['tagger']}, silence=removed)"
    options = ["--data", "stems", "--compare", f"there={target}", "--device", "cpu", "--json"]
    code, out, error = audiosep("evaluate", "stems", *options)
    assert code == 0, error
    assert "there" in out

    # A bundle, or the reason why not.
    code, out, error = audiosep("export", tmp_path / "whole" / LAST, "-o", "bundle")
    if name == "uss-resunet30":
        assert code == 0 and "no text encoder" in error
        assert (tmp_path / "bundle" / "separator.onnx").is_file()
    else:
        assert code != 0 and "AudioSep's kind of network" in error and "Traceback" not in error


def test_a_released_checkpoint_is_compared(audiosep, tmp_path):
    """As each released code writes it, told by name."""
    net = build_system("wave-u-net", layers=2, width=2)
    arrays = {}
    for (key, shape), value in zip(
        net.tensorflow_shapes().items(), net.state_dict().values(), strict=True
    ):
        array = value.numpy()
        arrays[key.removesuffix(":0")] = array.transpose(2, 1, 0) if array.ndim == 3 else array
        assert arrays[key.removesuffix(":0")].shape == shape
    np.savez(tmp_path / "wave.npz", **arrays)
    with pytest.raises(Exception, match="has the shape"):
        open_system("wave-u-net", tmp_path / "wave.npz")
    clipsep = build_system("clipsep")
    state = {f"module.{key}": value for key, value in clipsep.state_dict().items()}
    torch.save(state, tmp_path / "clipsep.pt")
    with pytest.raises(Exception, match="asked through CLIP"):
        open_system("clipsep", tmp_path / "clipsep.pt")
    (tmp_path / "stems").mkdir()
    for word in ("mixture", "rain"):
        soundfile.write(tmp_path / "stems" / f"{word}.wav", np.full(9000, 0.1), RATE)
    for given, message in (
        (f"mine={tmp_path / 'clipsep.pt'}", "none is called 'mine'"),
        (f"clipsep={tmp_path / 'clipsep.pt'}(words=here)", "not asked with 'words'; it knows text"),
        (f"clipsep={tmp_path / 'clipsep.pt'}(here)", "write 'here' as key=value"),
        (f"clipsep={tmp_path / 'none.pt'}", "with a file that exists"),
    ):
        code, _, error = audiosep("evaluate", "stems", "--data", "stems", "--compare", given)
        assert code == 2 and message in error and "Traceback" not in error, error


def test_the_wiener_filter_is_known_by_name(audiosep, tmp_path):
    (tmp_path / "stems").mkdir()
    for word in ("mixture", "rain"):
        sounds = 0.1 * np.random.default_rng(0).standard_normal(9000)
        soundfile.write(tmp_path / "stems" / f"{word}.wav", sounds, RATE)
    code, out, error = audiosep("evaluate", "stems", "--data", "stems", "--compare", "wiener")
    assert code == 0 and "wiener" in out, error


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("clipsep", ["data.segment_samples=16000"], "multiples of 128, such as 32767 samples"),
        ("clipsep", ["mixing.max_mix_num=3", "data.batch=3"], r"set mixing\.max_mix_num = 2"),
        ("segan", ["run.precision=16-mixed"], "trained by one process"),
        ("segan", ["data.sample_rate=8000"], r"set data\.sample_rate = 16000"),
        ("uss-resunet30", ["data.balance=false"], r"set data\.balance = true"),
        ("uss-resunet30", ["query.detector="], r"query\.detector is not set"),
        ("lass-net", ["query.checkpoint="], r"query\.checkpoint is not set"),
        ("wave-u-net", ["system.options={ layers = 99 }"], "layers must be in 1…14"),
        ("wave-u-net", ["system.options={ colour = 1 }"], "colour"),
        ("wave-u-net", ["system.name=demucs"], "system.name must be one of lass-net"),
    ],
)
def test_what_does_not_fit(name, changes, message, training, small_segan, audiosep, tmp_path):
    code, _, error = audiosep(
        *training(name), *(p for c in changes for p in ("--set", c)), "--run", "r"
    )
    assert code == 2 and "Traceback" not in error, error
    assert re.search(message, error), error
