"""A child that dies between two operations on files: for tests of what a kill at any moment leaves behind."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

OPERATIONS: Final = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "shutil.")
"""What counts, by the beginning of the name that Python's audit hooks give it."""


def killed_at(operation: int, folder: Path, work: Callable[[], object]) -> bool:
    """Do `work` in a child that dies before that operation in `folder`; False if it got to its end."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event.startswith(OPERATIONS) and str(folder) in str(arguments):
                if seen == operation:
                    os._exit(9)
                seen += 1

        try:
            sys.addaudithook(hook)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}
    return code == 9
