"""What the launcher says: numbered steps with their time, and failures with what to do.

Not covered: the app's own pages and messages. Only ASCII is printed here, because a Windows console may
have no other letters.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_core.errors import LoraError

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds start.py, Home.py and the requirement files."""


class SetupError(LoraError):
    """The app cannot be set up or started as things are."""


def say(text: str = "") -> None:
    """One line, at once: a person who waits must see it now, also through a pipe."""
    print(text, flush=True)


def show_error(error: LoraError) -> None:
    """Print a failure as what, why and what to do."""
    lines = ("", error.what, f"  Why: {error.why}", f"  What to do: {error.fix}", "")
    print("\n".join(lines), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time span in the two units that matter: `8 s`, `3 min 20 s`, `1 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Steps:
    """Counts the steps of a setup aloud."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say which step begins; when it ends, say how long it took."""
        self.done += 1
        started_s = time.monotonic()
        say(f"[{self.done}/{self.total}] {text}")
        yield
        say(f"      done in {duration(time.monotonic() - started_s)}")


class StatusLine:
    """One line that is redrawn in place on a terminal; elsewhere a line now and then.

    Without a terminal (a log, CI) a redrawn line would become thousands, so it is printed again
    only after `every_s` seconds.
    """

    def __init__(self, every_s: float = 30.0) -> None:
        self._terminal = sys.stdout.isatty()
        self._every_s = every_s
        self._last_s = time.monotonic()
        self._width = 0

    def show(self, text: str) -> None:
        now_s = time.monotonic()
        if self._terminal:
            if now_s - self._last_s >= 0.2:
                print("\r" + text[:110].ljust(self._width), end="", flush=True)
                self._width, self._last_s = min(len(text), 110), now_s
        elif now_s - self._last_s >= self._every_s:
            say(text)
            self._last_s = now_s

    def clear(self) -> None:
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", flush=True)
            self._width = 0
