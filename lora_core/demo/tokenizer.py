"""The files of the demo base's tokenizer: a small vocabulary in CLIP's own form.

Covered: byte-level byte-pair encoding as CLIP uses it (Radford et al., 2021; the byte alphabet is
GPT-2's). All 256 bytes are tokens, inside a word and at its end, so every text can be written; the
words of the demo's captions are one token each.

Not covered: encoding text. transformers' CLIPTokenizer reads these files.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final

from lora_core.demo.shapes import known_words

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
LENGTH: Final = 77
"""Tokens a caption is padded or cut to, start and end included; the same as Stable Diffusion's."""
_WORD_END: Final = "</w>"


def write_tokenizer(folder: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json into folder."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = _merges(known_words())
    letters = _byte_letters()
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "do_lower_case": True,
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _byte_letters() -> list[str]:
    """One printable character for each byte, GPT-2's choice: printable Latin-1 bytes stand for
    themselves, the others take the code points from 256 on, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, spare = [], 256
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(spare))
            spare += 1
    return letters


def _merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Merges, in order, that leave each word as one token: always the commonest pair next.

    Ties go to the pair that sorts first, so that the list depends on the words alone.
    """
    pieces = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for word in pieces for pair in pairwise(word))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merged(word, best) for word in pieces]


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for piece in word:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result
