"""CLAP's and CLIP's text towers as ONNX graphs against the PyTorch towers they are made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch")
pytest.importorskip("transformers")

import onnx
import onnxruntime
import tokenizers
import torch
import transformers

from audiosep_core import Separator
from audiosep_core.model.checkpoint import CheckpointError, text_weights
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.network import build_network
from audiosep_core.query.text import query_key
from audiosep_core.query.text_encoder import TextEncoder
from audiosep_export.text.bpe_tokenizer import clip_tokenizer, roberta_tokenizer
from audiosep_export.text.clap import clap_tower, export_clap_text
from audiosep_export.text.clip import clip_tower, export_clip_text
from audiosep_export.text.tower import TextTower, TextTowerError, cosine_distance, write_text_tower

HEADS = 4
SENTENCES = [
    "a dog barks loudly while rain falls on a tin roof",
    "Acoustic guitar, then a woman's voice",
    "café ambiance with 3 people talking",
    "water pours into a glass; footsteps on gravel",
]
SHAPES = ((1, 2), (1, 5), (1, 77), (4, 3), (7, 31), (3, 64))


def fill(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights with which different texts get clearly different embeddings."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 2:
            values /= 1 if "embedding" in name else shape[1] ** 0.5
        elif name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.1
        state[name] = values
    return state


def clap_shapes(size: int, inner: int, layers: int, words: int) -> dict[str, tuple[int, ...]]:
    """laion-clap's names and shapes."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (words, size),
        "embeddings.position_embeddings.weight": (514, size),
        "embeddings.token_type_embeddings.weight": (1, size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
        "pooler.dense.weight": (size, size),
        "pooler.dense.bias": (size,),
    }
    for layer in range(layers):
        for name, rows, columns in [
            ("attention.self.query", size, size),
            ("attention.self.key", size, size),
            ("attention.self.value", size, size),
            ("attention.output.dense", size, size),
            ("attention.output.LayerNorm", size, 0),
            ("intermediate.dense", inner, size),
            ("output.dense", size, inner),
            ("output.LayerNorm", size, 0),
        ]:
            path = f"encoder.layer.{layer}.{name}"
            shapes[f"{path}.weight"] = (rows, columns) if columns else (rows,)
            shapes[f"{path}.bias"] = (rows,)
    shapes = {f"text_branch.{name}": shape for name, shape in shapes.items()}
    for place, columns in ((0, size), (2, 512)):
        shapes[f"text_projection.{place}.weight"] = (512, columns)
        shapes[f"text_projection.{place}.bias"] = (512,)
    return shapes


def clip_shapes(size: int, layers: int, words: int) -> dict[str, tuple[int, ...]]:
    """OpenAI's names and shapes."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (words, size),
        "positional_embedding": (77, size),
        "ln_final.weight": (size,),
        "ln_final.bias": (size,),
        "text_projection": (size, 512),
    }
    for layer in range(layers):
        for name, shape in {
            "attn.in_proj_weight": (3 * size, size),
            "attn.in_proj_bias": (3 * size,),
            "attn.out_proj.weight": (size, size),
            "attn.out_proj.bias": (size,),
            "ln_1.weight": (size,),
            "ln_1.bias": (size,),
            "ln_2.weight": (size,),
            "ln_2.bias": (size,),
            "mlp.c_fc.weight": (4 * size, size),
            "mlp.c_fc.bias": (4 * size,),
            "mlp.c_proj.weight": (size, 4 * size),
            "mlp.c_proj.bias": (size,),
        }.items():
            shapes[f"transformer.resblocks.{layer}.{name}"] = shape
    return shapes


def small_clap(seed: int = 0, words: int = 400) -> dict[str, torch.Tensor]:
    return fill(clap_shapes(64, 160, 3, words), seed)


def small_clip(seed: int = 0, words: int = 400) -> dict[str, torch.Tensor]:
    return fill(clip_shapes(64, 3, words), seed)


def train_vocabulary(folder: Path, special: list[str], last: bool, **options: str) -> list[Path]:
    """A byte-level vocabulary as ``vocab.json`` and ``merges.txt``."""
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=[] if last else special,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        **options,
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(**options))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([line.lower() for line in SENTENCES] + SENTENCES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = (Path(path) for path in tokenizer.model.save(str(folder)))
    if last:
        words = json.loads(vocabulary.read_text(encoding="utf-8"))
        words |= {token: len(words) + place for place, token in enumerate(special)}
        vocabulary.write_text(json.dumps(words), encoding="utf-8")
    return [vocabulary, merges]


@pytest.fixture(scope="module")
def roberta_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return train_vocabulary(tmp_path_factory.mktemp("roberta"), special, last=False)


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    special = ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("clip")
    return train_vocabulary(folder, special, last=True, end_of_word_suffix="</w>")


def saved(tower: TextTower, folder: Path) -> Path:
    path = folder / "text_encoder.onnx"
    path.write_bytes(tower.model.SerializeToString())
    return path


TOWERS: dict[str, Callable[[int], TextTower]] = {
    "clap": lambda seed: clap_tower(small_clap(seed), HEADS),
    "clip": lambda seed: clip_tower(small_clip(seed), HEADS),
    "clip with gelu": lambda seed: clip_tower(small_clip(seed), HEADS, "gelu"),
}


@pytest.mark.parametrize("name", TOWERS)
def test_the_graph_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    tower = TOWERS[name](0)
    assert cosine_distance(tower, saved(tower, tmp_path), SHAPES) <= 1e-5


@pytest.mark.parametrize("name", TOWERS)
def test_other_weights_are_told_apart(name: str, tmp_path: Path) -> None:
    assert cosine_distance(TOWERS[name](1), saved(TOWERS[name](0), tmp_path), SHAPES) > 0.1


def test_the_activation_is_told_apart(tmp_path: Path) -> None:
    path = saved(TOWERS["clip with gelu"](0), tmp_path)
    assert cosine_distance(TOWERS["clip"](0), path, SHAPES) > 1e-5


@pytest.mark.parametrize("name", TOWERS)
def test_the_file_is_portable(name: str) -> None:
    model = TOWERS[name](0).model
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["input_ids", "attention_mask", "embedding"]
    assert [dim.dim_param for dim in ends[0].type.tensor_type.shape.dim] == ["batch", "tokens"]
    assert ends[2].type.tensor_type.shape.dim[1].dim_value == 512


@pytest.mark.parametrize("name", TOWERS)
def test_padding_and_neighbours_do_not_matter(name: str, tmp_path: Path) -> None:
    tower = TOWERS[name](0)
    session = onnxruntime.InferenceSession(str(saved(tower, tmp_path)))
    ids = np.array([[5, 9, 11, tower.end]])
    mask = np.ones_like(ids)
    (alone,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    for filler in (0, 1, 7):
        other = np.array([[5, 6, 7, 8, 9, 10, 11, 12, tower.end]])
        padded = np.pad(ids, ((0, 0), (0, 5)), constant_values=filler)
        feed = {
            "input_ids": np.concatenate([other, padded]),
            "attention_mask": np.concatenate([np.ones_like(other), np.pad(mask, ((0, 0), (0, 5)))]),
        }
        np.testing.assert_allclose(session.run(None, feed)[0][1:], alone, atol=1e-5)


def test_a_wrong_graph_is_not_written(tmp_path: Path, roberta_files: list[Path]) -> None:
    right, wrong = TOWERS["clap"](0), TOWERS["clap"](1)
    mixed = TextTower(right.module, wrong.model, right.end, "")
    with pytest.raises(TextTowerError, match="it is not written"):
        write_text_tower(mixed, roberta_tokenizer(*roberta_files), tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("prefix", ["", "module.", "query_encoder.model."])
def test_clap_from_every_kind_of_checkpoint(prefix: str) -> None:
    weights = small_clap()
    state = {f"{prefix}{name}": value for name, value in weights.items()}
    noise = {
        "ss_model.base.bn0.weight": torch.zeros(3),
        f"{prefix}audio_branch.x": torch.zeros(3),
        f"{prefix}text_branch.embeddings.position_ids": torch.arange(514)[None],
    }
    found = text_weights({"state_dict": state | noise, "epoch": 3})
    distance = clap_tower(found, HEADS).model.SerializeToString(deterministic=True) == clap_tower(
        weights, HEADS
    ).model.SerializeToString(deterministic=True)
    assert distance
    assert text_weights({"state_dict": {"ss_model.x": torch.zeros(1)}}) == {}


def test_clip_in_both_naming_schemes() -> None:
    tower = clip_tower(small_clip(), HEADS)
    image = {"visual.proj": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    for weights in (small_clip() | image, tower.module.state_dict() | image):
        again = clip_tower(weights, HEADS)
        assert again.model.SerializeToString(deterministic=True) == (
            tower.model.SerializeToString(deterministic=True)
        )


def test_damaged_weights_are_named() -> None:
    weights = small_clap()
    with pytest.raises(CheckpointError, match=r"hold no 'text_branch\.embeddings"):
        clap_tower({}, HEADS)
    with pytest.raises(CheckpointError, match=r"pooler\.dense\.bias"):
        clap_tower(
            {name: value for name, value in weights.items() if "pooler.dense.bias" not in name},
            HEADS,
        )
    weights["text_branch.pooler.dense.weight"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match="size mismatch"):
        clap_tower(weights, HEADS)
    weights = small_clap()
    weights["text_branch.pooler.dense.weight"][0, 0] = torch.nan
    with pytest.raises(CheckpointError, match="NaN"):
        clap_tower(weights, HEADS)
    with pytest.raises(CheckpointError, match="hold no 'text_model"):
        clip_tower({"visual.proj": torch.zeros(2, 2)}, HEADS)


TEXTS = [*SENTENCES, "808", "?!", "x", "DOG", "  two  spaces ", "犬の鳴き声", "it's 'quoted' we'll"]


def test_roberta_tokens_are_those_of_transformers(roberta_files: list[Path]) -> None:
    theirs = transformers.RobertaTokenizer(*map(str, roberta_files))
    ours = roberta_tokenizer(*roberta_files)
    for text in TEXTS:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text


def test_clip_tokens_are_those_of_transformers(clip_files: list[Path]) -> None:
    theirs = transformers.CLIPTokenizer(*map(str, clip_files))
    ours = clip_tokenizer(*clip_files)
    for text in TEXTS:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text


def test_the_vocabulary_must_fit(tmp_path: Path, roberta_files: list[Path]) -> None:
    with pytest.raises(CheckpointError, match=r"vocab\.json does not exist"):
        roberta_tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")
    with pytest.raises(CheckpointError, match=r"holds no '<\|startoftext\|>'"):
        clip_tokenizer(*roberta_files)
    (tmp_path / "vocab.json").write_text("[]")
    (tmp_path / "merges.txt").write_text("a b c d\n")
    with pytest.raises(CheckpointError, match="are no vocabulary"):
        roberta_tokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt")


@pytest.mark.parametrize("kind", ["clap", "clip"])
def test_the_runtime_runs_the_folder(
    kind: str, tmp_path: Path, roberta_files: list[Path], clip_files: list[Path]
) -> None:
    if kind == "clap":
        distance = export_clap_text(small_clap(), *roberta_files, tmp_path, HEADS)
        tower, tokenizer = clap_tower(small_clap(), HEADS), roberta_tokenizer(*roberta_files)
    else:
        words = len(json.loads(clip_files[0].read_text(encoding="utf-8")))
        weights = small_clip(words=words)
        distance = export_clip_text(weights, *clip_files, tmp_path, HEADS)
        tower, tokenizer = clip_tower(weights, HEADS), clip_tokenizer(*clip_files)
    assert distance <= 1e-5
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["TEXT_ENCODER_LICENSE", "text_encoder.onnx", "tokenizer.json"]
    encoder = TextEncoder(tmp_path / "text_encoder.onnx", tmp_path / "tokenizer.json")
    texts = [*SENTENCES, "x" * 512, "犬" * 300]
    embeddings = encoder.encode(texts)
    assert embeddings.shape == (len(texts), 512)
    for text, embedding in zip(texts, embeddings, strict=True):
        ids = torch.tensor([tokenizer.encode(query_key(text)).ids])
        assert ids.shape[1] <= (128 if kind == "clap" else 77)
        with torch.no_grad():
            output = tower.module(input_ids=ids, attention_mask=torch.ones_like(ids)).text_embeds
        expected = torch.nn.functional.normalize(output, dim=1)[0].numpy()
        assert 1 - float(embedding @ expected) <= 1e-5


@pytest.mark.parametrize("kind", ["clap", "clip"])
def test_the_command_exports_a_checkpoint_of_either(
    kind: str, audiosep: Callable, tmp_path: Path, roberta_files: list[Path], clip_files: list[Path]
) -> None:
    config = SeparatorConfig("tiny", n_fft=256, hop_length=64, widths=(16,) * 6, condition_size=512)
    torch.manual_seed(0)
    state = build_network(config).state_dict()
    torch.save({"state_dict": state, "config": config.to_dict()}, "net.pt")
    files = roberta_files if kind == "clap" else clip_files
    words = len(json.loads(files[0].read_text(encoding="utf-8")))
    # The command takes the released towers' 12 and 8 heads.
    shapes = clap_shapes(96, 160, 2, words) if kind == "clap" else clip_shapes(64, 2, words)
    torch.save(fill(shapes), "text.pt")
    export = ("export", "net.pt", "-o", "out", "--text-encoder", "text.pt")
    code, _, err = audiosep(*export)
    assert code == 1
    assert "vocab.json does not exist" in err
    for file, name in zip(files, ("vocab.json", "merges.txt"), strict=True):
        shutil.copyfile(file, tmp_path / name)
    code, _, err = audiosep(*export)
    assert code == 0, err
    separator = Separator(tmp_path / "out", device="cpu", threads=1)
    assert separator.encoder.embed(["a dog barks"]).shape == (1, 512)
    odd = clap_shapes(50, 160, 2, words) if kind == "clap" else clip_shapes(50, 2, words)
    for weights, words in ((fill(odd), "heads do not"), ({"a": torch.ones(1)}, "holds neither")):
        torch.save(weights, "text.pt")
        code, _, err = audiosep(*export, "--overwrite")
        assert code == 1
        assert words in err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clap", "clip"])
def test_the_released_shapes_agree(kind: str, tmp_path: Path) -> None:
    if kind == "clap":
        tower = clap_tower(fill(clap_shapes(768, 3072, 12, 50265)))
    else:
        tower = clip_tower(fill(clip_shapes(512, 12, 49408)))
    path = saved(tower, tmp_path)
    distance = cosine_distance(tower, path, ((1, 2), (1, 77), (4, 20)))
    print(f"{kind}: cosine distance {distance:.1e}, {path.stat().st_size / 1e6:.0f} MB")
    assert distance <= 1e-5


@pytest.mark.slow
def test_clap_agrees_with_laion_clap() -> None:
    laion = pytest.importorskip("laion_clap")
    clap = laion.CLAP_Module(enable_fusion=False, amodel="HTSAT-base").model.eval()
    tower = clap_tower(text_weights(clap.state_dict()))
    ids = torch.tensor([[0, 100, 2000, 30000, 2]])
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        expected = clap.get_text_embedding(tokens)
        found = torch.nn.functional.normalize(tower.module(**tokens).text_embeds, dim=1)
    assert 1 - float((expected * found).sum()) <= 1e-5
