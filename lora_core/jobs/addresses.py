"""Where messages are sent to: the addresses, and where these secrets are kept.

Covered: addresses in the system's keyring, in a file that only its owner can read where there is no keyring,
and in `LORA_NOTIFY_URLS`; what may be shown of them. Not covered: sending (sending.py).

An address of Apprise holds its token, so it is never shown again, logged, or put on a command line. The
list that pages read (`.access/notify.json`) holds it only where the system has no keyring.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lora_core import private
from lora_core.errors import JobError, WorkspaceError
from lora_core.volumes import locked
from lora_core.workspace import Workspace, disk_errors

ENVIRONMENT: Final = "LORA_NOTIFY_URLS"
KEYRING_NAME: Final = "lora-easy-trainer"
MOST: Final = 20
KEYRING_WAIT_S: float = 15.0
"""How long the keyring may take: a locked one asks the person at the screen, and at night nobody is there."""

Place = Literal["keyring", "file", "environment"]
_SENTENCES: Final[dict[Place, str]] = {
    "keyring": "It is kept in the keyring of the system.",
    "file": "This system has no keyring that can be used, so it is kept in a file that only you can read.",
    "environment": f"It stands in {ENVIRONMENT}.",
}
_NEXT_ADDRESS: Final = re.compile(r"[\s,;]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_SERVICES: Final = {
    "discord": "Discord", "tgram": "Telegram", "mailto": "E-Mail", "mailtos": "E-Mail", "slack": "Slack",
    "json": "JSON", "jsons": "JSON", "ntfys": "ntfy", "matrixs": "Matrix", "matrix": "Matrix",
    "pover": "Pushover", "gotifys": "Gotify", "gotify": "Gotify",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """What may be shown of an address."""

    service: str
    """Such as `ntfy`."""
    fingerprint: str
    """Six characters that tell two addresses apart and say nothing about either."""
    place: Place

    @property
    def sentence(self) -> str:
        """Where it is kept, in one sentence."""
        return _SENTENCES[self.place]


def addresses(workspace: Workspace) -> list[Address]:
    """The addresses that messages go to. Asks no keyring, so a page may call it at each look."""
    record = _lasting(workspace)
    kept = [_shown(entry) for entry in _entries(record)]
    known = {address.fingerprint for address in kept}
    given = [_of_environment(record, url) for url in _environment_urls()]
    return [*kept, *(address for address in given if address.fingerprint not in known)]


def with_secrets(workspace: Workspace) -> list[tuple[Address, str | None]]:
    """The addresses with the secret of each; None where the keyring does not give it out."""
    record = _lasting(workspace)
    found: dict[str, tuple[Address, str | None]] = {}
    for entry in _entries(record):
        address = _shown(entry)
        if address.place == "file":
            url = entry.get("url") if isinstance(entry.get("url"), str) else None
        else:
            url = _from_keyring(_user(record, address.fingerprint))
        found[address.fingerprint] = address, url
    for url in _environment_urls():
        address = _of_environment(record, url)
        found.setdefault(address.fingerprint, (address, url))
    return list(found.values())


def keep(workspace: Workspace, url: str, service: str) -> Address:
    """Keep an address that was checked before; one that is there already is replaced by itself.

    Raises:
        JobError: there are too many.
        WorkspaceError: it could not be written.
    """
    with _changing(workspace) as record:
        fingerprint = _fingerprint(record, url)
        others = [entry for entry in _entries(record) if entry["fingerprint"] != fingerprint]
        if len(others) >= MOST:
            raise JobError(
                "The address was not added.",
                why=f"There are {MOST} addresses already.",
                fix="Remove one of them first.",
            )
        entry: dict[str, Any] = {"fingerprint": fingerprint, "service": service, "place": "keyring"}
        if not _into_keyring(_user(record, fingerprint), url):
            entry |= {"place": "file", "url": url}
        record["addresses"] = [*others, entry]
    return _shown(entry)


def remove(workspace: Workspace, fingerprint: str) -> Address:
    """Forget an address.

    Raises:
        JobError: there is none of this fingerprint here.
        WorkspaceError: the file could not be written.
    """
    with _changing(workspace) as record:
        for entry in _entries(record):
            if entry["fingerprint"] == fingerprint:
                break
        else:
            inherited = {address.fingerprint for address in addresses(workspace)}
            raise JobError(
                "No address was removed.",
                why=f"It stands in {ENVIRONMENT}."
                if fingerprint in inherited
                else "There is no address of this fingerprint.",
                fix=f"Take it out of {ENVIRONMENT} and start the app again."
                if fingerprint in inherited
                else "Look at the list of addresses for the right one.",
            )
        if entry["place"] == "keyring":
            _out_of_keyring(_user(record, fingerprint))
        record["addresses"] = [one for one in _entries(record) if one["fingerprint"] != fingerprint]
    return _shown(entry)


# --- what is shown ----------------------------------------------------------------------------------


def _shown(entry: dict[str, Any]) -> Address:
    place: Place = "file" if entry["place"] == "file" else "keyring"
    return Address(service=str(entry["service"]), fingerprint=str(entry["fingerprint"]), place=place)


def _of_environment(record: dict[str, Any], url: str) -> Address:
    scheme = url.partition("://")[0].lower()
    service = _SERVICES.get(scheme, scheme)
    return Address(service=service, fingerprint=_fingerprint(record, url), place="environment")


def _environment_urls() -> list[str]:
    given = os.environ.get(ENVIRONMENT, "").strip()
    return [url.strip() for url in _NEXT_ADDRESS.split(given) if "://" in url][:MOST]


def _fingerprint(record: dict[str, Any], url: str) -> str:
    # With a key of this workspace: nobody can try guessed topics against what is shown.
    return hmac.new(record["key"].encode(), url.encode(), hashlib.sha256).hexdigest()[:6]


# --- the keyring ------------------------------------------------------------------------------------


def _user(record: dict[str, Any], fingerprint: str) -> str:
    # Not the folder's name: a workspace may move.
    return f"notify-{hashlib.sha256(record['key'].encode()).hexdigest()[:12]}-{fingerprint}"


def _into_keyring(user: str, url: str) -> bool:
    import keyring

    def put() -> str | None:
        keyring.set_password(KEYRING_NAME, user, url)
        return keyring.get_password(KEYRING_NAME, user)  # some take it and keep nothing

    return _asked(put) == url


def _from_keyring(user: str) -> str | None:
    import keyring

    return _asked(lambda: keyring.get_password(KEYRING_NAME, user))


def _out_of_keyring(user: str) -> None:
    import keyring

    _asked(lambda: keyring.delete_password(KEYRING_NAME, user))


def _asked(ask: Callable[[], str | None]) -> str | None:
    """What the keyring answers; None where it fails or does not answer in time."""
    answers: list[str | None] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception:  # noqa: BLE001  each system has errors of its own, and some show the secret
            answers.append(None)

    thread = threading.Thread(target=work, name="asks the keyring", daemon=True)
    thread.start()
    thread.join(KEYRING_WAIT_S)
    return answers[0] if answers else None


# --- the file ---------------------------------------------------------------------------------------


def _path(workspace: Workspace) -> Path:
    return workspace.root / ".access" / "notify.json"


def _entries(record: dict[str, Any]) -> list[dict[str, Any]]:
    found = record.get("addresses")
    wanted = {"fingerprint", "service", "place"}
    return (
        [one for one in found if isinstance(one, dict) and wanted <= set(one)]
        if isinstance(found, list)
        else []
    )


def _read(workspace: Workspace) -> dict[str, Any]:
    """The record; an empty one with a key for this call where there is none that can be read."""
    try:
        if (descriptor := private.open_plain(_path(workspace))) is None:
            return _new()
        with os.fdopen(descriptor, "rb") as file:
            record = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return _new()
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return _new()
    return record


def _lasting(workspace: Workspace) -> dict[str, Any]:
    """The record, with a key that is the same at the next call: what was sent is known by its fingerprint."""
    if _environment_urls() and not _path(workspace).exists():
        with contextlib.suppress(WorkspaceError), _changing(workspace) as record:
            return record
    return _read(workspace)


def _new() -> dict[str, Any]:
    return {"format": 1, "key": secrets.token_hex(16), "addresses": []}


@contextmanager
def _changing(workspace: Workspace) -> Iterator[dict[str, Any]]:
    """The record, written when the block ends well."""
    path = _path(workspace)
    what = "The addresses of messages were not changed."
    try:
        with disk_errors(what):
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(mode=0o700)
            with locked(path.with_suffix(".lock"), timeout_s=2 * KEYRING_WAIT_S):
                record = _read(workspace)
                yield record
                private.replace(path, json.dumps(record, indent=1) + "\n")
    except TimeoutError as error:
        why = "Another process has been changing them for a long time."
        raise WorkspaceError(what, why=why, fix="Try again.") from error
    except OSError as error:
        raise WorkspaceError(
            what,
            why=f"The folder .access could not be written: {error.strerror or error}.",
            fix="Allow writing to the workspace's folder.",
        ) from error
