"""Single functions and classes of a sd-scripts checkout, run without its packages.

Importing its modules would need all of its environment; what is compared here needs the standard
library, numpy and cv2 alone. Not covered: anything that calls the rest of sd-scripts.
"""

import ast
import math
import os
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any


def piece(name: str, file: str = "library/train_util.py", **known: Any) -> Any:
    """The function or class called `name` (`Class.method` for a method), with `known` as its globals.

    Raises:
        LookupError: the checkout has no such piece.
    """
    nodes: list[Any] = _parsed(Path(os.environ["LORA_SD_SCRIPTS"]) / file).body
    *outer, last = name.split(".")
    for part in outer:
        nodes = next((n.body for n in nodes if isinstance(n, ast.ClassDef) and n.name == part), [])
    found = [n for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == last]
    if not found:
        raise LookupError(f"{file} has no {name}")
    # Annotations name types that are not here; nothing reads them.
    module = ast.Module([*ast.parse("from __future__ import annotations").body, found[0]], type_ignores=[])
    scope: dict[str, Any] = {"math": math, "re": re, **known}
    exec(compile(module, file, "exec"), scope)  # noqa: S102  the checkout that the tester named
    return scope[last]


@cache
def _parsed(file: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its texts have escapes that newer versions of Python warn of
        return ast.parse(file.read_text("utf-8"))
