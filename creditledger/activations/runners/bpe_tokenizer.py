"""The byte-level BPE tokenizer of a model, as a ``tokenizers`` JSON document.

A GGUF keeps tokens, merges and the name of a pre-tokenizer; a folder has tokenizer.json already.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from creditledger.errors import MalformedRecordError, StorageError

_BYTE_LEVEL: Final = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_DIGITS: Final = {"type": "Digits", "individual_digits": True}
_PRE_TOKENIZERS: Final[dict[str, list[dict[str, Any]]]] = {
    "smollm": [_DIGITS, _BYTE_LEVEL],
    "starcoder": [_DIGITS, _BYTE_LEVEL],
    "gpt-2": [_BYTE_LEVEL],
}
"""GGUF's name for a pre-tokenizer -> how text is cut before merges: single digits, then GPT-2's."""
_CONTROL: Final = 3
_USER_DEFINED: Final = 4


def tokenizer_from_gguf(fact: Callable[[str], Any]) -> str | None:
    """The tokenizer of a GGUF whose metadata ``fact`` looks up; None for a kind we cannot build."""
    pre = _PRE_TOKENIZERS.get(str(fact("tokenizer.ggml.pre")))
    tokens, merges = fact("tokenizer.ggml.tokens"), fact("tokenizer.ggml.merges")
    if fact("tokenizer.ggml.model") != "gpt2" or pre is None or not tokens or merges is None:
        return None
    kinds = fact("tokenizer.ggml.token_type") or [1] * len(tokens)
    special = [
        _added_token(index, token, special=kind == _CONTROL)
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in {_CONTROL, _USER_DEFINED}
    ]
    return json.dumps(_document(tokens, merges, special, pre), ensure_ascii=False)


def build_tokenizer(document: str | None) -> Any:
    """The ``tokenizers.Tokenizer`` that ``document`` describes.

    Raises StorageError when the package is missing, MalformedRecordError without a usable one."""
    if document is None:
        raise MalformedRecordError(
            "this model file has no tokenizer we can use",
            expected="byte-level BPE in the GGUF, or tokenizer.json in the folder",
            found="neither",
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise StorageError(
            "reading text needs the package tokenizers: pip install 'creditledger[demo]'"
        ) from error
    try:
        return Tokenizer.from_str(document)
    except Exception as error:  # The package raises plain Exception for every malformed document.
        raise MalformedRecordError(
            "tokenizer.json is unusable", expected="a tokenizers document", found=str(error)[:120]
        ) from error


def _added_token(index: int, content: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": special, **flags}


def _document(
    tokens: list[str], merges: list[str], special: list[dict[str, Any]], pre: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre},
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }
