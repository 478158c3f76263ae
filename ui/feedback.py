"""How the pages tell good news, bad news and what to do about it.

All of them take plain text and show it as it is: a name of a user or a file is never Markdown.

Covered: results of an action, expected errors, unexpected ones, lists of problems. Not covered: the words of
the errors; they stand where the error is raised (see `lora_core.errors`).
"""

import logging
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from unicodedata import bidirectional

import streamlit as st

from lora_core.errors import LoraError, Problem
from ui import icons

DETAILS: Final = "Details for asking for help"
UNEXPECTED: Final = "The app met something that it did not expect."

_LOG = logging.getLogger("lora.pages")

_NOTHING: Final = "\u200b"
"""A sign that is not seen and takes no room."""
_MADE_MORE_OF: Final = re.compile(
    r"(?<!\S)(?:<->|->|<-|--|>=|<=|~=)(?!\S)|\bwww(?=\.)|(?<=\w)@(?=\w)", re.IGNORECASE
)
"""What Streamlit (1.67) makes a sign or a link of, also with a backslash before each of its marks."""
_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_QUOTED: Final = re.compile("“([^“”]*)”")


def done(text: str) -> None:
    """An action ended well; one sentence with number, thing and state."""
    st.success(spoken(text), icon=icons.GOOD)


def note(text: str, *, title: str | None = None, lines: Iterable[str] = ()) -> None:
    """Something worth knowing that needs no action; `lines` follow as a list."""
    st.info(_with_lines(text, lines), icon=icons.NOTE, title=title and spoken(title))


def care(text: str, *, title: str | None = None, lines: Iterable[str] = ()) -> None:
    """Something that may need action, with what to do; `lines` follow as a list."""
    st.warning(_with_lines(text, lines), icon=icons.CARE, title=title and spoken(title))


def problem(what: str, *, why: str, fix: str) -> None:
    """Something went wrong: what happened, why, and how to go on."""
    st.error(spoken(f"{why} {fix}".strip()), icon=icons.PROBLEM, title=spoken(what))


def show(error: LoraError) -> None:
    """An expected failure, in the four parts that its class fills."""
    problem(error.what, why=error.why, fix=error.fix)


def _with_lines(text: str, lines: Iterable[str]) -> str:
    listed = [f"- {spoken(line)}" for line in lines]
    return "\n".join([spoken(text), *listed] if text else listed)


@contextmanager
def user_errors() -> Iterator[None]:
    """Show an expected failure where it happened; let a bug through with its traceback."""
    try:
        yield
    except LoraError as error:
        show(error)


def unexpected(error: Exception) -> bool:
    """The calm page for a bug; handed to `st.App` as its handler. True: Streamlit adds nothing of its own."""
    _LOG.error("A page stopped.", exc_info=error)
    if isinstance(error, LoraError):
        show(error)
        return True
    problem(
        UNEXPECTED,
        why="This is a mistake in the app. Your files and your training are as they were.",
        fix="Load the page again. If it comes back, send the details below with your report.",
    )
    with st.expander(DETAILS):
        st.code("".join(traceback.format_exception(error)), language=None, wrap_lines=True)
    return True


def problem_list(problems: Sequence[Problem]) -> None:
    """Every reason why something cannot start, and apart from it what is only advice."""
    errors = [p for p in problems if p.severity == "error"]
    advice = [p for p in problems if p.severity == "advice"]
    if errors:
        # Not in red: nothing went wrong yet, and one red mark was enough for people to give up.
        count = "1 thing" if len(errors) == 1 else f"{len(errors)} things"
        st.warning(_listed(errors), icon=icons.CARE, title=f"{count} to do before it can start.")
    if advice:
        st.info(_listed(advice), icon=icons.NOTE, title="Advice. You can start without it.")


def _listed(problems: Sequence[Problem]) -> str:
    return "\n".join(f"- {spoken(f'{p.what} {p.fix}')}" for p in problems)


def spoken(text: str) -> str:
    """`text` from a file or a user, so that Markdown shows it as it is."""
    plain = _MADE_MORE_OF.sub(rf"\g<0>{_NOTHING}", _isolated(text))
    inline = "".join(f"\\{c}" if c in r"\`*_[]<>~$|:&" else c for c in plain)
    # At the start of a line these make a heading or a list, and four spaces make a block of code.
    unlisted = re.sub(
        r"^(\s*)([#+-]|\d+(?=[.)]))", lambda at: f"{at[1]}{_unlisted(at[2])}", inline, flags=re.MULTILINE
    )
    return re.sub(r"^(?=\t| {4})", _NOTHING, unlisted, flags=re.MULTILINE)


def _unlisted(mark: str) -> str:
    return f"{mark}{_NOTHING}" if mark.isdigit() else f"\\{mark}"


def _isolated(text: str) -> str:
    """A quoted name that is written from right to left leaves the words around it in their order.

    Without this, a number after a Hebrew name stands before it on the screen. Marks that turn the direction
    of all that follows are left out.
    """
    plain = _TURNS.sub("", text)
    if plain.isascii() or not any(bidirectional(letter) in {"R", "AL"} for letter in plain):
        return plain
    return _QUOTED.sub("“\u2068\\1\u2069”", plain)
