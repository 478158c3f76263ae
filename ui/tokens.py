"""The token that lets a person in, and the cookie that a browser gets for it.

Covered: the token from `LORA_TOKEN` or made once, the key that signs cookies, both in files that only the
owner can read; signing and checking cookies; comparing tokens in constant time.

Not covered: who may try, and how often (`ui/throttle.py`), and what a request gets (`ui/gate.py`). On Windows
the files are protected by the access rules of the folder they are in, not by modes.
"""

import base64
import binascii
import contextlib
import errno
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from lora_core import private
from lora_core.errors import WorkspaceError
from lora_core.workspace import Workspace, disk_errors

COOKIE_LIFE_S: Final = 30 * 24 * 3600
ONCE_LIFE_S: Final = 120
"""How long the link stays good that opens the browser: it stands in the browser's command line."""
CLOCK_SLACK_S: Final = 300
"""How far in the future a cookie may lie: a clock that was put right a little must not sign anybody out."""
SHORT_TOKEN: Final = 16
"""Below this many characters a token that a person made up is called short, in words only."""

_FILE_LIMIT: Final = 4096
_KEPT_TOKEN_LENGTH: Final = 8  # a person may write a token of their own into the file
_WRITING_S: Final = 2.0  # how long a file may be empty while another process writes it
_COOKIES_LOOKED_AT: Final = 8  # of our name in one request; more are nobody's honest request
_ONCE = re.compile(r"once\.(\d{1,12})\.([0-9a-f]{16})\.([0-9a-f]{64})")
_COOKIE = re.compile(r"v1\.(\d{1,12})\.([A-Za-z0-9_-]{0,400})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pass:
    """What a right cookie says."""

    issued_s: int
    """When it was given, in seconds since 1970."""
    origin: str
    """The address the browser signed in at, such as `https://name.example`; empty when it did not say."""


@dataclass(frozen=True, slots=True)
class Access:
    """The token, and the key that signs cookies. Neither is shown by `repr`."""

    token: str = field(repr=False)
    key: bytes = field(repr=False)
    _used: set[str] = field(default_factory=set, repr=False, compare=False)
    """What opened a browser already."""

    @property
    def cookie_name(self) -> str:
        """One name per workspace: browsers share cookies between the ports of one machine."""
        return "lora_access_" + hashlib.sha256(b"cookie name\0" + self.key).hexdigest()[:8]

    def is_right(self, token: str) -> bool:
        """Is this the token? Takes the same time for every wrong one, of any length."""
        return hmac.compare_digest(_digest(token), _digest(self.token))

    def new_once(self, now_s: float) -> str:
        """Stands in for the token once, and for two minutes: other users see a program's arguments."""
        said = f"once.{int(now_s)}.{secrets.token_hex(8)}"
        return f"{said}.{self._sign(said)}"

    def use_once(self, shown: str, now_s: float) -> bool:
        """Is this what `new_once` gave, still good and not used before? From now on it is used."""
        found = _ONCE.fullmatch(shown)
        if found is None or not hmac.compare_digest(
            found[3].encode(), self._sign(shown.rpartition(".")[0]).encode()
        ):
            return False
        if not 0 <= now_s - int(found[1]) < ONCE_LIFE_S or found[2] in self._used:
            return False
        self._used.add(found[2])
        return True

    def new_cookie(self, now_s: float, origin: str = "") -> str:
        """A cookie value for a browser that has shown the token. It does not hold the token."""
        named = base64.urlsafe_b64encode(origin.encode()).decode().rstrip("=")
        said = f"v1.{int(now_s)}.{named}"
        return f"{said}.{self._sign(said)}"

    def read_cookies(self, headers: Iterable[str], now_s: float) -> Pass | None:
        """The first right cookie in the `Cookie` headers of a request, or None."""
        for value in _values(headers, self.cookie_name)[:_COOKIES_LOOKED_AT]:
            found = _COOKIE.fullmatch(value)
            if found is None:
                continue
            said = value.rpartition(".")[0]
            if not hmac.compare_digest(found[3].encode(), self._sign(said).encode()):
                continue
            issued_s = int(found[1])
            if -CLOCK_SLACK_S <= now_s - issued_s < COOKIE_LIFE_S:
                return Pass(issued_s, _origin(found[2]))
        return None

    def _sign(self, said: str) -> str:
        # The token is part of the key, so a new token ends every cookie of the old one.
        key = hmac.new(self.key, b"cookie of\0" + self.token.encode("utf-8", "replace"), hashlib.sha256)
        return hmac.new(key.digest(), said.encode(), hashlib.sha256).hexdigest()

    def link(self, base: str, *, once_at_s: float | None = None) -> str:
        """The link that signs a browser in at `base`, such as `http://127.0.0.1:8501`.

        With a time it is good once and shortly after that time, and does not hold the token.
        """
        shown = self.token if once_at_s is None else self.new_once(once_at_s)
        return f"{base}/?token={quote(shown, safe='')}"


def _digest(text: str) -> bytes:
    # Hashed first, because compare_digest itself is faster for two lengths that differ.
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _values(headers: Iterable[str], name: str) -> list[str]:
    """Every value of cookie `name`; whatever else is in the headers does not matter, however odd it is."""
    pairs = (pair.partition("=") for header in headers for pair in header.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _origin(named: str) -> str:
    try:
        return base64.urlsafe_b64decode(named + "=" * (-len(named) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


# --- where they come from ----------------------------------------------------------------------


def load(workspace: Workspace, environ: Mapping[str, str]) -> Access:
    """The access of this workspace; token and key are made at the first call and then kept.

    Raises:
        WorkspaceError: the files cannot be made or read.
    """
    folder = workspace.root / ".access"
    with disk_errors("The sign-in token was not saved."), _access_errors(folder):
        _private_folder(folder)
        key = bytes.fromhex(_kept(folder / "key", lambda: secrets.token_hex(32), _is_key))
        token = environ.get("LORA_TOKEN", "").strip()
        token = token or _kept(folder / "token", lambda: secrets.token_urlsafe(32), _is_token)
    return Access(token, key)


def for_this_start_only(environ: Mapping[str, str]) -> Access:
    """Access that is kept nowhere, for a workspace that cannot be written: sign-ins end with the server."""
    return Access(environ.get("LORA_TOKEN", "").strip() or secrets.token_urlsafe(32), secrets.token_bytes(32))


@contextlib.contextmanager
def _access_errors(folder: Path) -> Iterator[None]:
    """Say what a failing system call means here."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise  # a full disk has words of its own
        raise WorkspaceError(
            f"The sign-in token in {folder} could not be made or read.",
            why=f"The system answered: {error.strerror}.",
            fix="Allow this user to write there, or name another folder with --workspace.",
        ) from error


def _is_key(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _is_token(text: str) -> bool:
    return len(text) >= _KEPT_TOKEN_LENGTH and text.isprintable()


def _private_folder(folder: Path) -> None:
    """Make the folder for its owner alone, or see that it is so."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise _odd(folder, "It is not a folder.")  # nor a link to one, which another user may have laid
    if os.name == "posix" and found.st_mode & 0o077:
        with contextlib.suppress(OSError):  # some file systems have no modes
            folder.chmod(0o700)


def _kept(path: Path, make: Callable[[], str], is_sound: Callable[[str], bool]) -> str:
    """The text in `path`; made now if there is none. Two processes that ask at once get the same."""
    until_s = time.monotonic() + _WRITING_S
    while True:
        try:
            text = _read_private(path)
        except FileNotFoundError:
            _create_private(path, make())
            continue
        if is_sound(text):
            return text
        if text or time.monotonic() > until_s:
            raise _odd(path, "Its content is not what this app writes.")
        time.sleep(0.02)  # another process has made the file and is about to fill it


def _read_private(path: Path) -> str:
    descriptor = private.open_plain(path)
    if descriptor is None:
        raise _odd(path, "It is not a plain file.")
    with os.fdopen(descriptor, "rb") as file:
        if os.name == "posix" and os.fstat(descriptor).st_mode & 0o077:
            with contextlib.suppress(OSError):  # some file systems have no modes
                os.fchmod(descriptor, 0o600)
        return file.read(_FILE_LIMIT).decode("utf-8", "replace").strip()


def _create_private(path: Path, text: str) -> None:
    """Make `path`, readable by its owner alone, with all of its text; leave one that is there already."""
    part = private.part_of(path)
    try:
        private.write_new(part, text + "\n")
        try:
            # A link appears with its content at once and, unlike a rename, replaces nothing.
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            with contextlib.suppress(FileExistsError):
                private.write_new(path, text + "\n")
    finally:
        part.unlink(missing_ok=True)


def _odd(path: Path, why: str) -> WorkspaceError:
    return WorkspaceError(
        f"The sign-in file {path} was not used.",
        why=why,
        fix="Remove it. The app makes a new one, and every browser signs in once more.",
    )
