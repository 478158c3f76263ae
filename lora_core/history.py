"""What was changed step by step, kept in a small file, so that it can be taken back and done again.

Covered: steps (what changed, from what to what, in one sentence), the bounded file that holds them, and
which step comes next in each direction. Not covered: what the values mean and where they are kept (see
`lora_core.projects`), captions of pictures (see `lora_core.datasets.journal`).

A step names the places that it changed with their values before and after. Taking it back sets just these
places, so a change that another tab made elsewhere stays. The file belongs to a project file and may be
lost: then nothing can be taken back, and nothing else is lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from lora_core.errors import WorkspaceError
from lora_core.workspace import read_json, write_json

FORMAT: Final = 1
STEPS_KEPT: Final = 100
PLACES_KEPT: Final = 20_000
"""Places in all steps together; a recipe of 150 settings may be replaced a hundred times."""
CHARACTERS_KEPT: Final = 400_000

ABSENT: Final[tuple[Any, ...]] = ()
"""What a place holds that holds nothing; a value is kept as a list of one, since None is a value too."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change."""

    what: str
    """What was done, in one sentence: `Rank changed from 8 to 16.`"""
    at: float
    """Unix time in seconds."""
    before: Mapping[str, Any]
    """The places that it changed with what they held: one value in a list, or nothing in it."""
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """The steps of one project."""

    done: tuple[Step, ...] = field(default=())
    """Oldest first; the last one is taken back next."""
    undone: tuple[Step, ...] = field(default=())
    """What was taken back; the last one is done again next."""

    def with_step(self, step: Step) -> "History":
        """A new change ends what could have been done again."""
        return History(_kept((*self.done, step)))

    def undo(self) -> tuple[Step | None, "History"]:
        """The newest step, and the history after it was taken back."""
        if not self.done:
            return None, self
        return self.done[-1], History(self.done[:-1], (*self.undone, self.done[-1]))

    def redo(self) -> tuple[Step | None, "History"]:
        """The step that was taken back last, and the history after it was done again."""
        if not self.undone:
            return None, self
        return self.undone[-1], History((*self.done, self.undone[-1]), self.undone[:-1])


def _kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The newest steps that fit; the very newest always."""
    places = characters = 0
    for kept, step in enumerate(reversed(steps)):
        places += len(step.after)
        characters += len(repr(step.before)) + len(repr(step.after))
        if kept and (kept >= STEPS_KEPT or places > PLACES_KEPT or characters > CHARACTERS_KEPT):
            return steps[len(steps) - kept :]
    return steps


def read(path: Path) -> History:
    """The history in `path`; an empty one where there is no file, or none that can be understood."""
    try:
        record = read_json(path, newest_format=FORMAT)
        return History(_steps(record["done"]), _steps(record["undone"]))
    except (OSError, WorkspaceError, KeyError, TypeError, ValueError, AttributeError):
        return History()  # what could be taken back is worth less than the settings themselves


def write(path: Path, history: History) -> None:
    """Replace the file.

    Raises:
        DiskFullError: the disk is full; the file is as it was.
    """
    record = {
        "format": FORMAT,
        "done": [_record(step) for step in history.done],
        "undone": [_record(step) for step in history.undone],
    }
    write_json(path, record)


def _record(step: Step) -> dict[str, Any]:
    plain = {
        name: {place: _plain(value) for place, value in places.items()}
        for name, places in (("before", step.before), ("after", step.after))
    }
    return {"what": step.what, "at": step.at, **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _steps(records: list[dict[str, Any]]) -> tuple[Step, ...]:
    return tuple(
        Step(
            str(record["what"]),
            float(record["at"]),
            {str(place): list(value) for place, value in record["before"].items()},
            {str(place): list(value) for place, value in record["after"].items()},
        )
        for record in records
    )
