"""Sending messages through Apprise, in a process of its own: `python -m lora_core.jobs.sending`.

Covered: one message to one address, checking an address, the test message. Not covered: which messages are
sent when (after.py), and the addresses (addresses.py). Apprise is imported here and nowhere else, inside
functions, so that pages and the runner stay light.

    … sending check           reads an address from standard input, prints its service as JSON
    … sending test WORKSPACE  sends the test message, prints what came of it as JSON
"""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lora_core.jobs import addresses, messages
from lora_core.jobs.messages import Message
from lora_core.workspace import Workspace

if TYPE_CHECKING:
    from apprise import AppriseAsset

REFUSED: Final = "The service could not be reached, or it refused the message."
NO_SERVICE: Final = "No known service has an address of this form."
LOCKED: Final = "The keyring of the system did not give the address out."


def send(url: str, message: Message) -> str | None:
    """Send `message`; returns None when the service took it, else why not. Never shows the address."""
    from apprise import Apprise

    _silence()
    try:
        service = Apprise.instantiate(url, asset=_asset())
        if service is None:
            return NO_SERVICE
        sender = Apprise(asset=_asset())
        sender.add(service)
        # Plain text alone: what Apprise could attach or read from other places stays off.
        return None if sender.notify(title=message.title, body=message.body, body_format="text") else REFUSED
    except Exception as error:  # noqa: BLE001  an error of a plugin may hold the address, so it is not shown
        return f"{REFUSED} ({type(error).__name__})"


def service_of(url: str) -> str | None:
    """The name of the service that this address belongs to; None where there is none."""
    from apprise import Apprise

    _silence()
    try:
        found = Apprise.instantiate(url, asset=_asset())
    except Exception:  # noqa: BLE001  the same
        return None
    return str(found.service_name) if found is not None else None


def send_test(workspace: Workspace) -> list[dict[str, Any]]:
    """Send the test message to each address; what came of each."""
    return [
        {
            "service": address.service,
            "fingerprint": address.fingerprint,
            "problem": LOCKED if url is None else send(url, messages.test()),
        }
        for address, url in addresses.with_secrets(workspace)
    ]


def _asset() -> "AppriseAsset":
    from apprise import AppriseAsset, PersistentStoreMode

    return AppriseAsset(
        app_id="LoRA Easy Trainer",
        app_desc="LoRA Easy Trainer",
        app_url="",
        # No pictures from other servers, no plugins from folders, nothing kept on the disk.
        image_url_mask="",
        image_path_mask="",
        image_url_logo="",
        plugin_paths=[],
        storage_mode=PersistentStoreMode.MEMORY,
    )


def _silence() -> None:
    # At some levels these log addresses.
    for name in ("apprise", "urllib3", "requests"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        logger.setLevel(logging.CRITICAL + 1)


def main(arguments: Sequence[str]) -> int:
    """Check the address on standard input, or send the test message; prints JSON."""
    if arguments[0] == "check":
        answer: Any = {"service": service_of(sys.stdin.read().strip())}
    else:
        answer = {"sent": send_test(Workspace(Path(arguments[1]).resolve()))}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
