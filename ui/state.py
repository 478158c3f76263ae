"""What the pages remember for a person, and where.

Covered: the workspace that is open, the user's own settings of the pages (kept in `settings.toml`), the time
of day as the pages write it. Not covered: projects, runs and datasets; those are files with their own
modules.
"""

import time
from datetime import datetime
from typing import Final

from lora_core.jobs import choices
from lora_core.workspace import Workspace

_PAGES: Final = "pages"
_PAUSED: Final = "pause_updates"
_OPENED: Final = "open_project"
_LADDER: Final = "retry_ladder"


def workspace() -> Workspace:
    """The workspace of this app, with its folders."""
    return Workspace.open()


def updates_paused(ws: Workspace) -> bool:
    """Whether live values stand still until the user lets them go on."""
    return choices.table(ws, _PAGES).get(_PAUSED) is True


def pause_updates(ws: Workspace, paused: bool) -> None:
    """Keep the choice, for every page and after a restart."""
    choices.change(ws, _PAGES, {_PAUSED: paused})


def opened(ws: Workspace) -> str | None:
    """Name of the project that was opened last."""
    name = choices.table(ws, _PAGES).get(_OPENED)
    return name if isinstance(name, str) else None


def open_named(ws: Workspace, name: str) -> None:
    """Keep which project is open, for every page and after a restart."""
    choices.change(ws, _PAGES, {_OPENED: name})


def retry_ladder(ws: Workspace) -> bool:
    """Whether a training that is started goes on by itself with cheaper settings when memory runs out."""
    return choices.table(ws, _PAGES).get(_LADDER) is True


def choose_retry_ladder(ws: Workspace, *, on: bool) -> None:
    """Keep the choice, for every training that is started from now on."""
    choices.change(ws, _PAGES, {_LADDER: on})


def when(seconds: float) -> str:
    """A point in time: `at 14:05` today, else `on 23 November at 14:05`. Never how long ago: that changes."""
    moment = datetime.fromtimestamp(seconds).astimezone()
    today = datetime.fromtimestamp(time.time()).astimezone()
    if moment.date() == today.date():
        return f"at {moment:%H:%M}"
    year = "" if moment.year == today.year else f" {moment.year}"
    return f"on {moment.day} {moment:%B}{year} at {moment:%H:%M}"


def how_long(seconds: float) -> str:
    """A duration as a person says it, coarse on purpose: `less than a minute`, `about 25 minutes`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 90:
        return f"about {minutes} minute{'s' if minutes != 1 else ''}"
    hours = round(minutes / 60)
    if hours < 48:
        return f"about {hours} hours"
    return f"about {round(hours / 24)} days"


def how_big(size_bytes: float) -> str:
    """A file size: `820 kB`, `4.6 MB`, `12 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            value = size_bytes / scale
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number with its thing: `1 picture`, `40 pictures`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"
