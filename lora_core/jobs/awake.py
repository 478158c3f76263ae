"""Keeping the computer awake while a job runs, where the system allows it.

Covered: holding the system's own "do not sleep" while something runs (the runner does that), and telling
whether it works. Not covered: the choice itself (choices.py). The screen may go dark; only sleep is held off.

The system lets go by itself when the runner ends, however it ends.
"""

import logging
import queue
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lora_core.errors import WorkspaceError
from lora_core.jobs import choices, spawn
from lora_core.workspace import Workspace, read_json, write_json

_log = logging.getLogger(__name__)

OFF: Final = "You switched this off: the computer may go to sleep while a job runs."
IDLE: Final = "The computer is kept awake while a job runs. Nothing runs now."
WORKS: Final = "The computer is kept awake while the job runs."
FAILS: Final = (
    "The computer could not be kept awake: this system offers no way to do it. "
    "A server or a container does not sleep by itself. "
    "On your own computer, switch sleep off in its settings."
)
SOON: Final = "The computer is about to be kept awake."


@dataclass(frozen=True, kw_only=True, slots=True)
class Awake:
    """What a page shows."""

    on: bool
    """The user's choice."""
    works: bool
    """True while the computer is kept awake."""
    sentence: str


def state(workspace: Workspace) -> Awake:
    """Whether the computer is kept awake now, true at this moment."""
    if not choices.kept_awake(workspace):
        return Awake(on=False, works=False, sentence=OFF)
    found = _read(workspace) if spawn.runner_alive(workspace) else {}
    if found.get("busy") is not True:
        return Awake(on=True, works=False, sentence=IDLE)
    works = found.get("works")
    if works is None:
        return Awake(on=True, works=False, sentence=SOON)
    return Awake(on=True, works=works is True, sentence=WORKS if works is True else FAILS)


class Keeper:
    """Holds the system awake from a thread of its own: asking a desktop may take seconds."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._wanted: tuple[bool, bool] | None = None
        self._orders: queue.SimpleQueue[tuple[bool, bool]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def keep(self, *, busy: bool, wanted: bool) -> None:
        """Call at each look; does something only when one of the two has changed."""
        if (busy, wanted) == self._wanted:
            return
        if self._wanted is None and not busy and _read(self._workspace).get("busy") is not True:
            return  # otherwise a runner that was killed left its word behind
        self._wanted = busy, wanted
        self._orders.put(self._wanted)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keeps awake", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        held = ExitStack()  # one thread takes and lets go: on Windows the system knows it by its thread
        holding = False
        while True:
            busy, wanted = self._orders.get()
            if holding and not (busy and wanted):
                _quietly(held)
                held, holding = ExitStack(), False
            works: bool | None = None
            if busy and wanted and not holding:
                self._tell(busy=busy, works=None)
                holding = works = _hold(held)
            elif busy and wanted:
                works = True
            self._tell(busy=busy, works=works)

    def _tell(self, *, busy: bool, works: bool | None) -> None:
        try:
            write_json(_file(self._workspace), {"format": 1, "busy": busy, "works": works})
        except (OSError, WorkspaceError) as error:
            _log.warning("whether the computer is kept awake was not written: %s", error)


def _hold(held: ExitStack) -> bool:
    try:
        from wakepy import keep

        return bool(held.enter_context(keep.running(on_fail="pass")).active)
    except Exception as error:  # noqa: BLE001  a desktop's odd answer must not touch the jobs
        _log.warning("the computer is not kept awake: %r", error)
        return False


def _quietly(held: ExitStack) -> None:
    try:
        held.close()
    except Exception as error:  # noqa: BLE001  the same
        _log.warning("letting the computer sleep again failed: %r", error)


def _file(workspace: Workspace) -> Path:
    return workspace.runner / "awake.json"


def _read(workspace: Workspace) -> dict[str, object]:
    try:
        return read_json(_file(workspace))
    except (OSError, WorkspaceError):
        return {}
