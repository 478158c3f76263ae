"""TOML as sd-scripts reads it, read and written so that nothing changes on the way.

sd-scripts reads with the package `toml` 0.10.2. That reader takes some broken files, refuses some
correct ones (lists that mix 1 and 1.0) and, when it writes, garbles texts with `\\u` or control
characters: `C:\\users` comes out as an escape that no reader takes. So a file is read with
both `toml` and Python's strict reader and must mean the same to both, and it is written by the
small writer here.

Covered: flat tables, arrays of tables, texts, numbers, flags and lists of them. Not covered: dates.
"""

import json
import math
import re
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import toml

from lora_core.errors import Problem, SettingsError

SIZE_LIMIT: Final = 1_000_000
"""Bytes. A settings file has a few thousand; a large one is something else by mistake."""


_DOTTED: Final = re.compile(r"""(?<![\w"'-])[\w"'-]++(?:[ \t]*+\.[ \t]*+[\w"'-]++){12}""")
"""A key of many parts: the readers need minutes for one of ten thousand."""
_MOST_NAMES: Final = 20_000
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_LAST_OF_FOUR_DIGITS: Final = 0xFFFF
_HARMLESS: Final = re.compile(r"[A-Za-z0-9./_-][A-Za-z0-9 .,/_:()=-]*")
"""Texts that no reader was ever seen to misread; trying them out would cost more than writing them."""


def read_bytes(path: Path) -> bytes:
    """The content of a settings file.

    Raises:
        SettingsError: there is no such file, or it is too large.
    """
    try:
        # Size first: a wrong file may be a model of many gigabytes, and a pipe would never end.
        if path.stat().st_size > SIZE_LIMIT:
            raise _refused(path.name, "It is larger than a settings file can be.", "Choose the right file.")
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise _refused(path.name, "It is not a file.", "Choose the right file.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else "the path holds a sign that no path can have"
        )
        raise _refused(path.name, f"The system answered: {reason}.", "Check the path of the file.") from error


def read_text(path: Path) -> str:
    """The text of a settings file.

    Raises:
        SettingsError: there is no such file, it is too large, or it is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(path.name, "It is not UTF-8 text.", "Save it as UTF-8.") from error


_PLAIN: Final = {
    "Cannot overwrite": "a name stands there for the second time",
    "Cannot declare": "a table stands there for the second time",
    "Duplicate": "a name stands there for the second time",
    "Expected '='": "there is no = behind a name",
    "Expected ']": "a bracket is not closed",
    "Unclosed": "a bracket is not closed",
    "Unterminated string": "a text has no closing quote",
    r"Illegal character '\n'": "a text has no closing quote",
    "Unescaped": "a text in double quotes has a single \\",
    "Expected newline": "there is more on the line than one name and its value",
    "Invalid value": "there is no value, or a text without quotes",
    "Invalid statement": "that is no name with a value",
}
"""How a message of Python's TOML reader begins, and what it means."""


def _told(error: tomllib.TOMLDecodeError) -> str:
    """What the reader found, in plain words where it is something that people do."""
    what, mark, where = str(error).rpartition(" (at ")
    plain = next((words for start, words in _PLAIN.items() if what.startswith(start)), what)
    told = f"{plain}{mark}{where}".replace("end of document", "the end of the file")
    return re.sub(r"\b(?:invalid|illegal) ", "unknown ", told, flags=re.IGNORECASE)


def parse(text: str, name: str) -> dict[str, Any]:
    """The table in `text`; `name` is the file's name for messages.

    Raises:
        SettingsError: the text is not TOML, or sd-scripts would read it differently.
    """
    strict = strictly(text, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own source has escapes that newer Pythons warn about
            loose = toml.loads(text)
    except Exception as error:
        raise _refused(
            name,
            f"The reader that sd-scripts uses does not understand it: {error}.",
            "Write it more simply: one key on each line, and no list that mixes 1 with 1.0 or with text.",
        ) from error
    if repr(loose) != repr(strict) and loose != strict:
        raise _refused(
            name,
            "The reader that sd-scripts uses would read other values from it.",
            "Write it more simply: one key on each line, and texts in double quotes.",
        )
    return strict


def strictly(text: str, name: str) -> dict[str, Any]:
    """The table in `text` as Python's own reader finds it.

    Raises:
        SettingsError: the text is not TOML, or no person would have written it.
    """
    if len(text) > SIZE_LIMIT:
        raise _refused(name, "It is larger than a settings file can be.", "Choose the right file.")
    if _DOTTED.search(text):
        raise _refused(name, "It holds a name of very many parts.", "Choose the right file.")
    if text.count("=") + text.count("[") > _MOST_NAMES:
        raise _refused(name, "It holds more names than a settings file has.", "Choose the right file.")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        where = _told(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is nested too deeply"
        raise _refused(name, f"It is not complete TOML: {where}.", how_to_mend(where)) from error


def how_to_mend(message: str) -> str:
    """What to do about a message of the TOML reader."""
    if "escape" in message.lower() or "\\" in message or "hex" in message.lower():
        return "Write a path of Windows in single quotes: 'C:\\models\\base.safetensors'."
    return "Mend that line."


def _refused(name: str, why: str, fix: str) -> SettingsError:
    return SettingsError([Problem(setting="", what=why, fix=fix)], what=f"The file {name} was not read.")


def write_value(value: Any) -> str:
    """One value as TOML.

    Raises:
        ValueError: it has no form in TOML that every reader takes.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written")
        return repr(value)  # the shortest text that reads back as the same float
    if isinstance(value, Path):
        # A relative path is written with slashes, which every system takes.
        return write_text(str(value) if value.is_absolute() else value.as_posix())
    if isinstance(value, str):
        return write_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_write_item(item) for item in value)}]"
    if isinstance(value, Mapping):
        inner = (f"{json.dumps(str(key))} = {write_value(item)}" for key, item in value.items())
        return "{" + ", ".join(inner) + "}"
    raise ValueError(f"{type(value).__name__} cannot be written")


def _write_item(item: Any) -> str:
    if isinstance(item, str | Path):
        return _first_that_reads_back(str(item), "value = [{}, {}]\n")
    return write_value(item)


def write_text(text: str) -> str:
    """A text in quotes, in the first spelling that both readers take for the same text."""
    return _first_that_reads_back(text, "value = {}\n")


def _first_that_reads_back(text: str, line: str) -> str:
    plain = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # DEL is plain in JSON only
    if _HARMLESS.fullmatch(text):
        return plain
    spellings = [plain]
    if "'" not in text and text.isprintable():
        spellings.append(f"'{text}'")
    # `toml` 0.10.2 stumbles over `"` alone, a comma that comes first in a list, and `\\u` beside an escape.
    spellings.append('"' + "".join(c if c.isalnum() or c == " " else _escaped(c) for c in text) + '"')
    for spelling in spellings:
        try:
            written = line.format(spelling, spelling)
            if parse(written, "") == tomllib.loads(line.format(plain, plain)):
                return spelling
        except SettingsError:
            continue
    return plain


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= _LAST_OF_FOUR_DIGITS else f"\\U{code:08x}"


def write_lines(values: Mapping[str, Any]) -> list[str]:
    """`key = value`, one a line; what is None is left out, as TOML has no word for it."""
    return [f"{_key(key)} = {write_value(value)}" for key, value in values.items() if value is not None]


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")


def reads_back(key: str, value: Any) -> bool:
    """True for a value that can be written under this key so that every reader finds it again."""
    try:
        line = "\n".join(write_lines({key: value}))
        return repr(parse(line, "")) == repr({key: value})
    except (SettingsError, ValueError, RecursionError):
        return False
