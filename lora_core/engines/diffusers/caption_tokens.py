"""Captions as CLIP's tokens: rows of 77, and how much each token counts.

A long caption is cut into rows of 75 tokens, each between a start and an end token, as sd-scripts
does it: without a look at words or commas. Weights in brackets are read as in A1111's prompts:
`(word)` counts 1.1 times, `(word:1.3)` 1.3 times, `[word]` 1 / 1.1 times, brackets nest, and a
backslash keeps a bracket as text.

Covered: text to tokens and weights. Not covered: the text encoders (see `text.py`).
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

_PIECE: Final = re.compile(r"\\[()\[\]\\]?|[(\[)\]]|:([+-]?(?:\d+\.?\d*|\.\d+))\)|[^\\()\[\]:]+|:")
_STRONGER: Final = 1.1


@dataclass(frozen=True, slots=True)
class Tokens:
    """One caption for one text encoder."""

    ids: Tensor
    """(rows, row length) int64: one row, or two or three for long captions."""
    weights: Tensor
    """As `ids`, float32; 1 everywhere where weights are not read."""


def tokens(tokenizer: Any, caption: str, rows: int, *, weighted: bool) -> Tokens:
    """`caption` in `rows` rows; what does not fit is cut off.

    Where `tokenizer` fills up with its end token (CLIP), each row ends with it. Where it has a token
    of its own for that (OpenCLIP), a row that is full ends with the end token and one that is empty
    has the end token first.
    """
    length: int = tokenizer.model_max_length
    inner = length - 2
    words, counts = _words(tokenizer, caption, rows * inner, weighted=weighted)
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    blank = rows * inner - len(words)
    line = [*words, end, *[pad] * blank]  # one longer than the rows: the end token of a full caption
    weights = [*counts, *[1.0] * blank]
    ids, weight_rows = [], []
    for row in range(rows):
        part = line[row * inner : (row + 1) * inner]
        last = line[-1]
        if pad != end and rows > 1:
            last = end if part[-1] not in {end, pad} else last
            part[0] = end if part[0] == pad else part[0]
        ids.append([start, *part, last])
        weight_rows.append([1.0, *weights[row * inner : (row + 1) * inner], 1.0])
    return Tokens(torch.tensor(ids), torch.tensor(weight_rows))


def _words(tokenizer: Any, caption: str, most: int, *, weighted: bool) -> tuple[list[int], list[float]]:
    """At most `most` tokens of the caption, without those that start and end it, and their weights."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in weighted_parts(caption) if weighted else [(caption, 1.0)]:
        found = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        ids += found
        weights += [weight] * len(found)
    return ids[:most], weights[:most]


def weighted_parts(caption: str) -> list[tuple[str, float]]:
    """The caption without its brackets, as pieces of text that share a weight."""
    parts: list[tuple[str, float]] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(start: int, factor: float) -> None:
        parts[start:] = [(text, weight * factor) for text, weight in parts[start:]]

    for match in _PIECE.finditer(caption):
        piece, number = match.group(0), match.group(1)
        if piece in opened:
            opened[piece].append(len(parts))
        elif number is not None and opened["("]:
            weigh(opened["("].pop(), float(number))
        elif piece == ")" and opened["("]:
            weigh(opened["("].pop(), _STRONGER)
        elif piece == "]" and opened["["]:
            weigh(opened["["].pop(), 1 / _STRONGER)
        else:
            parts.append((piece.removeprefix("\\"), 1.0))
    for start in opened["("]:
        weigh(start, _STRONGER)
    for start in opened["["]:
        weigh(start, 1 / _STRONGER)
    return _merged(parts) or [("", 1.0)]


def _merged(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    merged: list[tuple[str, float]] = []
    for text, weight in parts:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged
