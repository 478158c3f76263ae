"""Whose a job is, by a token: an engine whose job was taken from it writes nothing more and ends.

Covered: the token in `host.json`, which is a new one each time the job changes hands; looking at it before
a file takes its place; what an engine does that finds another one there. Not covered: who may take a job
over (hosts.py).

Locks do not hold between all computers, so a job may be taken over while its engine still lives: cut off
from the network, or asleep. When it wakes it finds another token and ends at once, without the ends of its
blocks: those write, too. Between its last look and the rename that follows lie microseconds.
"""

import os
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

from lora_core.errors import WorkspaceError
from lora_core.jobs import platform
from lora_core.volumes import here
from lora_core.workspace import guard_writes, read_json, safe_name, write_json

NAME: Final = "host.json"
FORMAT: Final = 1
FENCED: Final = 4
"""Exit code: another computer has taken the job over."""
LET_GO_S: float = 0.5
"""How long whoever takes a job over leaves it alone: a write that had begun is done by then."""

Token = tuple[str, str]
"""The computer, and what tells two ownerships of one computer apart."""


def token(folder: Path) -> Token | None:
    """Whose the job in `folder` is; None where nobody claimed it, or it cannot be read."""
    try:
        record = read_json(folder / NAME)
    except (OSError, WorkspaceError):
        return None
    host = record.get("host")
    return (host, str(record.get("token", ""))) if isinstance(host, str) and host else None


def put(folder: Path) -> None:
    """Make the job this computer's; an engine of an earlier owner ends when it sees that.

    Raises:
        DiskFullError, OSError: it could not be written.
    """
    record = {"format": FORMAT, "host": here(), "token": uuid4().hex, "at": time.time()}
    write_json(folder / NAME, record)


class Fence:
    """What the process of one attempt knows of its own right to write."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._mine = folder, token(folder)

    def guard(self) -> None:
        """Look before every file of this process that takes its place, whoever writes it."""
        guard_writes(self.check)

    def check(self) -> None:
        """Return if the job is still ours; else end this process, here and now. Takes 15 µs."""
        now = token(self._folder)
        if now is None or now == self._mine:
            return
        if self._mine is None and now[0] == here():
            self._mine = now  # it could not be read at the start
        else:
            self._leave(now[0])

    def _leave(self, host: str) -> None:
        # A file of our own: the job's log is the new owner's.
        said = (
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} The job was taken over by {host}. Process {os.getpid()} "
            f"on {here()} wrote nothing more and ended.\n"
        )
        try:
            with log_of(self._folder).open("a", encoding="utf-8") as file:
                file.write(said)
        finally:
            platform.leave(FENCED)


def log_of(folder: Path) -> Path:
    """Where an engine of this computer says that it was fenced."""
    return folder / f"fenced.{safe_name(here())}.log"
