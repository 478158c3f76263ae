"""How the runner sleeps: until a folder changes, a child ends, or a time has passed.

Covered: one sleeper for one process, woken by files and by SIGCHLD. Not covered: waking it, which
is `spawn.wake`.
"""

import logging
import selectors
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

_log = logging.getLogger(__name__)


class Wakeup(FileSystemEventHandler):
    """Lets the runner sleep until a folder changes, a child ends, or a time has passed."""

    def __init__(self, folder: Path) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, _noticed)  # without a handler nothing is written
        signal.set_wakeup_fd(self._in.fileno(), warn_on_full_buffer=False)
        self._observer = Observer()
        try:
            self._observer.schedule(self, str(folder))
            self._observer.daemon = True
            self._observer.start()
        except OSError as error:
            _log.warning("changes are looked for once a second only: %s", error)

    def on_any_event(self, event: FileSystemEvent) -> None:
        try:
            self._in.send(b"!")
        except OSError:
            return  # full: it is being woken anyway

    def wait(self, timeout_s: float) -> None:
        if self._selector.select(timeout_s):
            try:
                while self._out.recv(4096):
                    pass
            except BlockingIOError:
                return


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """Python writes the signal's number to the wake-up socket; that is all that is needed."""
