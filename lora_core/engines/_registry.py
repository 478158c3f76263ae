"""Which trainers there are.

Covered: looking an engine up by name. Not covered: what it does (see `_base.py`). A new engine is
one new package here and one line in the table.
"""

from typing import Final

from lora_core.engines._base import Engine
from lora_core.engines.diffusers import DiffusersEngine
from lora_core.errors import EngineError

_ENGINES: Final[dict[str, Engine]] = {engine.name: engine for engine in (DiffusersEngine(),)}


def names() -> tuple[str, ...]:
    """The engines' names, the built-in one first."""
    return tuple(_ENGINES)


def get(name: str) -> Engine:
    """The engine of this name.

    Raises:
        EngineError: there is none.
    """
    if name not in _ENGINES:
        raise EngineError(
            f"There is no trainer called {name}.",
            why=f"This app has {', '.join(names())}.",
            fix=f"Choose {names()[0]}.",
        )
    return _ENGINES[name]
