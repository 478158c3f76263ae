"""What a message to a phone or a mailbox says.

Covered: which event an end is, and the words. Not covered: sending, and whether a message is wanted. A
message holds the name of the LoRA, its state, its step and what to do next; no paths, no pictures, no lines
of the log, because it passes through other people's servers.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from lora_core.jobs.records import State, Status

Event = Literal["end", "failure", "stall"]
_NAME_LIMIT = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message."""

    title: str
    body: str


def event_of(state: State, *, asked: bool) -> Event | None:
    """Which event an end is; None for one that the user asked for, who knows of it."""
    if state == "finished":
        return "end"
    if state in {"failed", "lost"}:
        return "failure"
    return None if asked else "failure"


def ended(name: str, status: Status, *, saved_step: int | None, sound: bool, goes_on: bool) -> Message:
    """The message about a training that is over.

    `sound` says of a finished one that its LoRA file was verified; `goes_on` that it was queued again with
    a cheaper setting.
    """
    name = shown(name)
    if status.state == "finished":
        if sound:
            return _message(name, "is finished", status, "The LoRA file is there and sound.")
        return _message(
            name, "ended, but its LoRA file is not sound", status, "Open the app before you use the file."
        )
    words = {"failed": "failed", "lost": "ended, and nobody saw how"}.get(status.state, f"was {status.state}")
    if goes_on:
        return _message(name, words, status, "It goes on with a cheaper setting.")
    if saved_step:
        following = f"Step {saved_step} is saved. Open the app, read the cause, and resume from there."
    else:
        following = "Nothing was saved. Open the app, read the cause, and start it again."
    return _message(name, words, status, following)


def stalled(name: str, status: Status, quiet: str) -> Message:
    """The message about a training that makes no more steps."""
    following = "It was not stopped. Open the app and look at its log."
    return _message(shown(name), f"has made no step for {quiet}", status, following)


def test() -> Message:
    """The message that the button and the command send."""
    return Message(
        title="LoRA Easy Trainer",
        body="This is a test message. Messages about your trainings will arrive here.",
    )


def shown(name: str) -> str:
    """A name as a message may hold it: one line, not a path, not long."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    clean = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in last).strip()
    return clean[:_NAME_LIMIT] or "A training"


def _message(name: str, words: str, status: Status, following: str) -> Message:
    at = f"step {status.step} of {status.total}" if status.total else f"step {status.step}"
    return Message(title=f"{name} {words}", body=f"{name} {words} at {at}. {following}")
