"""How long work tells what it is doing, and hears that it should stop.

Covered: the protocol between work (training, importing, probing) and whoever watches it,
and a reporter that does nothing. Not covered: where reports go; `lora_core.jobs` writes
them to a job's folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

Request = Literal["stop", "pause"]
"""`stop` and `pause` both save a state at the next step and end; they differ in what is offered next."""
MAKE_ROOM: Final = "Free some space on this disk, then resume the run."
"""What to do about a full disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far the work is. Every figure may be unknown."""

    step: int = 0
    """Units of work done: optimizer steps in training, files in an import."""
    total: int | None = None
    """Units of work in all; None while it is not known."""
    loss: float | None = None
    """Running mean of the training loss."""
    steps_per_s: float | None = None
    """Pace of the last minute or so, in units of work a second."""
    eta_s: float | None = None
    """Seconds until `total` is reached at that pace."""


class Reporter(Protocol):
    """Where work reports to and hears requests from."""

    def phase(self, text: str) -> None:
        """Name the part of the work that starts now, such as `Loading the base model`."""

    def progress(self, progress: Progress) -> None:
        """Tell how far the work is; cheap enough to call at every step."""

    def request(self) -> Request | None:
        """The pending request to end, if there is one."""

    def take(self, name: Literal["save", "sample"]) -> bool:
        """True once for each request of this name; the request is then done with."""

    def saved(self, path: Path, step: int) -> None:
        """A file or a state is complete on disk."""

    def note(self, text: str) -> None:
        """One sentence for the user, kept with the job: a skipped image, a changed setting."""


class NullReporter:
    """Takes every report, keeps none, and never asks to stop; for direct calls and for tests."""

    def phase(self, text: str) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def request(self) -> Request | None:
        return None

    def take(self, name: Literal["save", "sample"]) -> bool:
        return False

    def saved(self, path: Path, step: int) -> None: ...

    def note(self, text: str) -> None: ...


class Ended(Exception):  # noqa: N818  it is an outcome, not an error
    """Raised by work that ended early, after it saved what it has: asked to, or for a cause of its own."""

    def __init__(self, request: Request, *, step: int, cause: str = "", fix: str = "") -> None:
        super().__init__(f"{request} at step {step}")
        self.request: Request = request
        self.step = step
        self.cause, self.fix = cause, fix
        """Why it ended without being asked to, such as a full disk, and what to do; else empty."""
