"""From the bytes of a file to a table, whether it is TOML or JSON; nothing in it is ever run.

Covered: size, encoding, depth, and what is wrong in words. Not covered: what the keys mean (see the
modules of the formats).
"""

import json
import re
from typing import Any, Final

from lora_core.errors import Problem, SettingsError
from lora_core.settings._toml import SIZE_LIMIT, strictly

_DEEPEST: Final = 32
_MOST_NAMES: Final = 20_000


def table_of(name: str, data: bytes) -> dict[str, Any]:
    """The table in `data`; `name` is the file's name for messages.

    Raises:
        SettingsError: it is too large, no text, neither TOML nor JSON, or nested too deeply.
    """
    if len(data) > SIZE_LIMIT:
        raise refused(name, "It is larger than a settings file can be.", "Choose the right file.")
    if b"\0" in data:
        raise refused(
            name, "It holds signs that no text has.", "Choose a text file that ends with .toml or .json."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(name, "It is not UTF-8 text.", "Save it as UTF-8.") from error
    if not text.strip():
        raise refused(name, "It is empty.", "Choose another file.")
    found = (
        _json(name, text) if text.lstrip()[0] in "{[" and not _is_toml_header(text) else strictly(text, name)
    )
    if not isinstance(found, dict):
        raise refused(name, "It is a list, and no recipe is one.", "Choose another file.")
    if _depth(found) > _DEEPEST:
        raise refused(name, "It is nested too deeply.", "Choose the right file.")
    return found


def _is_toml_header(text: str) -> bool:
    # [general] or [[datasets]]; a list of JSON has no such line.
    return (
        re.match(r"\s*\[{1,2}\s*[A-Za-z_\"'][^\[\]{},]*\]{1,2}\s*(?:#[^\n]*)?(?:\r?\n|$)", text[:500])
        is not None
    )


def _json(name: str, text: str) -> Any:
    if text.count(":") > _MOST_NAMES:
        raise refused(name, "It holds more names than a settings file has.", "Choose the right file.")
    try:
        return json.loads(text, parse_constant=float)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        where = (
            str(error)
            if isinstance(error, json.JSONDecodeError)
            else "it is nested too deeply or holds a number that is too long"
        )
        raise refused(
            name, f"It is not complete JSON: {where}.", "Save it again with the program that made it."
        ) from error


def _depth(table: Any) -> int:
    depth, level = 0, [table]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
    return depth


def refused(name: str, why: str, fix: str) -> SettingsError:
    """The error of a file that cannot be imported."""
    return SettingsError([Problem(setting="", what=why, fix=fix)], what=f"The file {name} was not imported.")
