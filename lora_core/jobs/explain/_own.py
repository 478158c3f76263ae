"""This app's own errors in a log: they say themselves what happened, why, and how to fix it.

Covered: the three parts as the worker prints them behind the traceback, and the one text that a traceback
alone leaves. Not covered: errors of others.
"""

import re
from collections.abc import Sequence
from typing import Final

from lora_core import errors
from lora_core.errors import LoraError
from lora_core.jobs.explain._form import EVIDENCE_LINES, Explanation, Fixes, evidence
from lora_core.jobs.explain._reading import Block

_OWN = re.compile(r"^lora_core\.errors\.(\w+): (.*)", re.DOTALL)
_PARTS: Final = ("What happened: ", "Why: ", "How to fix it: ")
_SENTENCE = re.compile(r"(?<=[.!?]) +(?=[A-Z\"'])")
_ORDERS = re.compile(
    r"(Add|Allow|Ask|Change|Check|Choose|Close|Copy|Correct|Delete|Do|Download|Empty|Fill|Free|Give|Go|Install|Leave|Let"
    r"|Look|Lower|Make|Move|Name|Open|Or|Pick|Put|Raise|Read|Remove|Rename|Replace|Restart|Restore|Resume|Run|Save"
    r"|Select|Set|Start|Switch|Take|Then|Train|Try|Turn|Unzip|Update|Use|Wait|Write)\b"
)

# Of the errors that a page can do more about than show them.
_ROWS: Final[tuple[tuple[str, str, Fixes], ...]] = (
    ("disk_full", r"The disk is full", ()),
    (
        "nan_latents",
        r"The VAE turned it into something that is not a number, because",
        (("no_half_vae", True),),
    ),
    ("nan_latents", r"The VAE turned it into something that is not a number", ()),
    ("nan_loss", r"The (loss|gradient) was not a number", ()),
    ("no_images", r"There are no pictures to train on", ()),
)


def told(error: LoraError, trace: Sequence[str] = ()) -> Explanation:
    """The explanation that `error` is; `trace` are the lines of its traceback."""
    return _explained(error.what, error.why, error.fix, trace)


def own_lines(error: LoraError) -> str:
    """What to print behind the traceback of `error`, so that its parts can be read from the log."""
    parts = (error.what, error.why, error.fix)
    return "\n".join(name + " ".join(part.split()) for name, part in zip(_PARTS, parts, strict=True))


def own(block: Block, lines: Sequence[str]) -> Explanation | None:
    """The explanation that the traceback `block` holds if it is of an error of this app."""
    found = _OWN.match(block.text)
    if found is None or not _is_ours(found[1]):
        return None
    trace = lines[block.start : block.end]
    behind = lines[block.end : block.end + len(_PARTS)]
    if len(behind) == len(_PARTS) and all(
        line.startswith(name) for line, name in zip(behind, _PARTS, strict=True)
    ):
        what, why, fix = (line.removeprefix(name) for line, name in zip(behind, _PARTS, strict=True))
        return _explained(what, why, fix, trace)
    sentences = _SENTENCE.split(" ".join(found[2].split()))
    first = len(sentences) - 1
    while first > 1 and _ORDERS.match(sentences[first - 1]) and _ORDERS.match(sentences[first]):
        first -= 1
    return _explained(" ".join(sentences[:first]), "", " ".join(sentences[first:]), trace)


def _is_ours(name: str) -> bool:
    kind = getattr(errors, name, None)
    return isinstance(kind, type) and issubclass(kind, LoraError)


def _explained(what: str, why: str, fix: str, trace: Sequence[str]) -> Explanation:
    cause = f"{what} {why}".strip()
    row, fixes = next(((name, fixes) for name, text, fixes in _ROWS if re.search(text, cause)), ("own", ()))
    last = evidence(list(trace)[-EVIDENCE_LINES:])
    return Explanation(cause=cause, fix=fix, evidence=last, known=True, row=row, fixes=fixes)
