"""What the user chose to happen while jobs run and after they end, kept in `settings.toml`.

Covered: the tables [notify] (which events are told), [at_end] (a command) and [awake]; reading them with
their defaults; the one way to change any table of the file, [pages] of the app too. Not covered: the
addresses of messages, which are secrets (see notify.py), and the rules of the queue (queue.py).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import toml

from lora_core.errors import WorkspaceError
from lora_core.volumes import locked
from lora_core.workspace import Workspace, read_open, write_atomic

LONGEST_S: Final = 24 * 3600.0
_LOCK_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """Of which events of a training a message is sent, where there is an address."""

    end: bool = True
    """It finished."""
    failure: bool = True
    """It failed, was lost, or ended early without being asked to by the user."""
    stall: bool = True
    """It makes no more steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AtEnd:
    """The command that runs when a training has ended and nothing else is left to do."""

    command: tuple[str, ...] = ()
    """The program and its arguments, each on its own; no shell reads them. Empty for none."""
    also_after_failure: bool = False
    """True: also when the last training did not end well. Otherwise only after a verified result."""
    timeout_s: float = 600.0
    """After this time the command is ended, in seconds."""
    problem: str = ""
    """Why what stands in the file cannot be used; empty where it can."""


def events(workspace: Workspace) -> Events:
    """Which events are told; all of them unless the user chose otherwise."""
    given = table(workspace, "notify")
    return Events(**{name: given.get(name) is not False for name in ("end", "failure", "stall")})


def set_events(workspace: Workspace, chosen: Events) -> None:
    """Keep which events are told.

    Raises:
        WorkspaceError: the file could not be written.
    """
    change(workspace, "notify", asdict(chosen))


def at_end(workspace: Workspace) -> AtEnd:
    """The command at the end. One that is written wrongly counts as none, with the reason."""
    given = table(workspace, "at_end")
    command, timeout_s = given.get("command", []), given.get("timeout_s", AtEnd().timeout_s)
    also = given.get("also_after_failure") is True
    if not isinstance(command, list) or not all(
        isinstance(part, str) and "\0" not in part for part in command
    ):
        return AtEnd(problem="In settings.toml, [at_end] command is not a list of texts.")
    if command and not command[0].strip():
        return AtEnd(problem="In settings.toml, [at_end] command does not begin with a program.")
    number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not number or not 0 < timeout_s <= LONGEST_S:
        return AtEnd(problem=f"In settings.toml, [at_end] timeout_s is not between 0 and {LONGEST_S:.0f}.")
    return AtEnd(command=tuple(command), also_after_failure=also, timeout_s=float(timeout_s))


def set_at_end(workspace: Workspace, chosen: AtEnd) -> None:
    """Keep the command at the end; one without a command takes it away.

    Raises:
        WorkspaceError: the file could not be written.
    """
    values = {
        "command": list(chosen.command),
        "also_after_failure": chosen.also_after_failure,
        "timeout_s": chosen.timeout_s,
    }
    change(workspace, "at_end", values)


def kept_awake(workspace: Workspace) -> bool:
    """Whether the computer is to be kept awake while a job runs; it is unless the user switched it off."""
    return table(workspace, "awake").get("on") is not False


def keep_awake(workspace: Workspace, on: bool) -> None:
    """Keep the choice; a runner that is at work follows it within a second or two.

    Raises:
        WorkspaceError: the file could not be written.
    """
    change(workspace, "awake", {"on": on})


def table(workspace: Workspace, name: str) -> dict[str, Any]:
    """What is kept in one table of `settings.toml`; nothing where the file cannot be read."""
    found = _read(workspace).get(name)
    return found if isinstance(found, dict) else {}


def _read(workspace: Workspace) -> dict[str, Any]:
    try:
        return _parsed(workspace.settings_file) or {}
    except OSError:
        return {}


def _parsed(path: Path) -> dict[str, Any] | None:
    """What the file holds; None where it is damaged."""
    try:
        return toml.loads(read_open(path))
    except FileNotFoundError:
        return {}
    except (ValueError, IndexError):  # toml raises these for odd files, besides its own kind
        return None


def change(workspace: Workspace, name: str, values: dict[str, Any]) -> None:
    """Put `values` into one table of `settings.toml`. Nobody else writes that file, so nothing else is lost.

    A file that is damaged is put aside, as `settings.toml.damaged`, and begun anew.

    Raises:
        DiskFullError, WorkspaceError: the file could not be written; it is as it was.
    """
    path = workspace.settings_file
    if (now := table(workspace, name)) | values == now:
        return
    try:
        workspace.runner.mkdir(parents=True, exist_ok=True)
        with locked(workspace.runner / "settings.lock", timeout_s=_LOCK_S):
            if (known := _parsed(path)) is None:
                path.replace(path.with_name(f"{path.name}.damaged"))
                known = {}
            before = known.get(name)
            changed = {**(before if isinstance(before, dict) else {}), **values}
            write_atomic(path, toml.dumps(known | {name: changed}))
    except TimeoutError as error:
        raise WorkspaceError(
            "The choice was not kept.",
            why="Another process has been writing settings.toml for more than 10 seconds.",
            fix="Try again.",
        ) from error
    except OSError as error:
        raise WorkspaceError(
            "The choice was not kept.",
            why=f"The file settings.toml could not be written: {error.strerror or error}.",
            fix="Allow writing to the workspace's folder, then choose again.",
        ) from error
