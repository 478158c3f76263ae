"""Messages about trainings: their addresses, the test message, and which events are told.

Import from here. Covered: what pages and commands may do. Not covered: when messages are sent (after.py) and
how (sending.py). Nothing is ever sent unless the user entered an address.

    notify.add(ws, url)          checks and keeps an address; it is never shown again
    notify.addresses(ws)         service, fingerprint and place of each
    notify.test(ws)              sends a test message; takes seconds, so a page starts the job `notify_test`
"""

import json
import subprocess
import sys
from typing import Any, Final

from lora_core.errors import JobError, Problem
from lora_core.jobs.addresses import ENVIRONMENT, Address, addresses, keep, remove
from lora_core.jobs.choices import Events, events, set_events
from lora_core.jobs.sending import LOCKED
from lora_core.workspace import APP_ROOT, Workspace

__all__ = [
    "ENVIRONMENT",
    "Address",
    "Events",
    "add",
    "addresses",
    "events",
    "outcomes",
    "remove",
    "send_test",
    "set_events",
    "test",
]

_CHECK_S: Final = 60.0
_TEST_S: Final = 180.0
_LONGEST: Final = 2000


def add(workspace: Workspace, url: str) -> Address:
    """Check that `url` is an address of a service that Apprise knows, and keep it. Takes about a second.

    Raises:
        JobError: it is none.
        WorkspaceError: it could not be kept.
    """
    url = url.strip()
    if not url.isprintable() or not 0 < len(url) <= _LONGEST or "://" not in url:
        raise _no_address()
    service = _answer(["check"], url, _CHECK_S).get("service")
    if not isinstance(service, str):
        raise _no_address()
    return keep(workspace, url, service)


def test(workspace: Workspace) -> Problem | None:
    """Send the test message to every address; None when all services took it. May take a minute."""
    try:
        send_test(workspace)
    except JobError as error:
        return Problem(setting="notify", what=f"{error.what} {error.why}", fix=error.fix)
    return None


def send_test(workspace: Workspace) -> list[dict[str, Any]]:
    """Send the test message to every address; returns what `outcomes` returns.

    Raises:
        JobError: there is no address, or not every service took the message.
    """
    found = outcomes(workspace)
    if not found:
        raise JobError(
            "No message was sent.",
            why="There is no address.",
            fix="Add the address of a service first, such as ntfy or Discord.",
        )
    failed = [one for one in found if one["problem"]]
    if not failed:
        return found
    if any(one["problem"] == LOCKED for one in failed):
        fix = f"Unlock the keyring of the system, or give the address in {ENVIRONMENT}. Then test again."
    else:
        fix = "Check the network and the address. To change an address, remove it and add it anew."
    raise JobError(
        "The test message was not sent everywhere." if len(found) > 1 else "The test message was not sent.",
        why=" ".join(f"{one['service']} {one['fingerprint']}: {one['problem']}" for one in failed),
        fix=fix,
    )


def outcomes(workspace: Workspace) -> list[dict[str, Any]]:
    """Send the test message; for each address `service`, `fingerprint` and `problem` (None when sent).

    Raises:
        JobError: the process that sends did not answer.
    """
    if not addresses(workspace):
        return []
    found = _answer(["test", str(workspace.root)], "", _TEST_S).get("sent")
    return found if isinstance(found, list) else []


def _answer(arguments: list[str], given: str, timeout_s: float) -> dict[str, Any]:
    """What a process of its own answers; the secret goes through its standard input."""
    command = [sys.executable, "-m", "lora_core.jobs.sending", *arguments]
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            cwd=APP_ROOT,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise JobError(
            "The message service could not be asked.",
            why=f"The process for it did not answer ({type(error).__name__}).",
            fix="Try again. If it stays so, run start.py again, which installs what is missing.",
        ) from None  # the error holds what was written to the process
    return answer


def _no_address() -> JobError:
    return JobError(
        "The address was not added.",
        why="No known service has an address of this form.",
        fix="Enter an address such as ntfy://your-topic or discord://id/token. "
        "The list of services is on the page of Apprise.",
    )
