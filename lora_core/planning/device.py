"""What a run asks for and this machine's device does not have, as torch said at its last look.

Covered: fp16, weights in 8 bits and 8 bit optimizers without CUDA, which the engine refuses when it starts.
Not covered: what would only be slow (see `checks.py`), how much memory there is (see `estimates.py`).
"""

from collections.abc import Iterator
from typing import Final

from lora_core import machine
from lora_core.errors import Problem
from lora_core.settings import RunConfig
from lora_core.workspace import Workspace

_WITHOUT: Final = "this machine has none that torch can use"


def needs_a_card(run: RunConfig, workspace: Workspace) -> Iterator[Problem]:
    """Errors where a GPU with CUDA is needed and it is known that there is none."""
    facts = machine.read_facts(workspace)
    if facts is None or "error" in facts or facts.get("device") in {"cuda", None}:
        return
    if run.precision.mixed_precision == "fp16":
        yield Problem(
            setting="mixed_precision",
            what=f"fp16 needs a GPU with CUDA, and {_WITHOUT}.",
            fix="Set mixed_precision to no.",
            mend={"mixed_precision": "no"},
            mend_label="Use no",
        )
    if run.precision.fp8_base:
        yield Problem(
            setting="fp8_base",
            what=f"Weights in 8 bits need a GPU with CUDA, and {_WITHOUT}.",
            fix="Turn fp8_base off.",
            mend={"fp8_base": False},
            mend_label="Turn fp8_base off",
        )
    name = run.optimizer.optimizer_type
    if name.rpartition(".")[2].lower().endswith(("8bit", "pagedadamw", "pagedadamw32bit")):
        yield Problem(
            setting="optimizer_type",
            what=f"{name} works on a GPU with CUDA only, and {_WITHOUT}.",
            fix="Take AdamW.",
            mend={"optimizer_type": "AdamW"},
            mend_label="Use AdamW",
        )
