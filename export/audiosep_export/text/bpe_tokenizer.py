"""Tokenizers of RoBERTa and CLIP, made from the vocabulary files that their authors publish."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from audiosep_core.model.checkpoint import CheckpointError
from audiosep_core.query.text_encoder import MAX_TOKENS

#: CLIP's position table ends here.
CLIP_TOKENS = 77
# CLIP splits at words, single digits and runs of other signs (Radford et al., simple_tokenizer).
_CLIP_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def roberta_tokenizer(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    """RoBERTa's byte-level tokenizer: ``<s> text </s>``, case kept.

    Args:
        vocabulary: ``vocab.json``.
        merges: ``merges.txt``.

    Raises:
        CheckpointError: A file is missing, damaged, or not RoBERTa's.
    """
    tokenizer = tokenizers.Tokenizer(_read(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    start, end = _ids(tokenizer, vocabulary, "<s>", "</s>")
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", end), ("<s>", start), trim_offsets=True, add_prefix_space=False
    )
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def clip_tokenizer(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    """CLIP's tokenizer: ``<|startoftext|> text <|endoftext|>``, lower case, at most 77 tokens.

    Args:
        vocabulary: ``vocab.json``.
        merges: ``merges.txt``.

    Raises:
        CheckpointError: A file is missing, damaged, or not CLIP's.
    """
    names = "<|startoftext|>", "<|endoftext|>"
    model = _read(vocabulary, merges, end_of_word_suffix="</w>", unk_token=names[1])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    start, end = _ids(tokenizer, vocabulary, *names)
    tokenizer.add_special_tokens(list(names))
    tokenizer.post_processor = processors.RobertaProcessing(
        (names[1], end), (names[0], start), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.enable_truncation(min(MAX_TOKENS, CLIP_TOKENS))
    return tokenizer


def _read(vocabulary: Path, merges: Path, **options: str) -> models.BPE:
    for path in (vocabulary, merges):
        if not path.is_file():
            raise CheckpointError(
                f"{path} does not exist; give the vocab.json and the merges.txt of the text encoder"
            )
    try:
        return models.BPE.from_file(str(vocabulary), str(merges), **options)
    # The library reports every kind of malformed file as a bare Exception.
    except Exception as error:
        raise CheckpointError(
            f"{vocabulary} and {merges} are no vocabulary ({error}); download them again"
        ) from None


def _ids(tokenizer: tokenizers.Tokenizer, vocabulary: Path, *tokens: str) -> list[int]:
    found = []
    for token in tokens:
        number = tokenizer.token_to_id(token)
        if number is None:
            raise CheckpointError(
                f"{vocabulary} holds no {token!r}, so it is not this text encoder's; give the "
                "vocab.json that was published with it"
            )
        found.append(number)
    return found
