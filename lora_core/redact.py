"""Blacking out secrets in text that is kept: logs above all.

Covered: the values of this process's secret environment variables, and what looks like a key, a login in
an address or a signed link. Not covered: secrets of a form that nothing here knows.

Works on bytes, imports the standard library alone and little of it: the process that writes a job's log
(`jobs/log_writer.py`) starts with it.
"""

import os
import re
from collections.abc import Mapping, Sequence

BLACKED_OUT = b"[hidden]"
SHORTEST = 8
"""A value of fewer characters is not looked for: it would black out ordinary words."""

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL|NOTIFY_URL", re.IGNORECASE)

# Each with a text that a block must hold before its pattern is tried: 5 MB/s without these, 100 with them.
# Group 1, where there is one, is kept; the rest is blacked out.
_FORMS = tuple(
    (hint, re.compile(pattern))
    for hint, pattern in (
        (b"hf_", rb"\bhf_[A-Za-z0-9]{16,}"),  # Hugging Face
        (b"sk-", rb"\bsk-[A-Za-z0-9_-]{16,}"),  # OpenAI and others
        (b"gh", rb"\bgh[pousr]_[A-Za-z0-9]{16,}"),  # GitHub
        (b"github_pat_", rb"\bgithub_pat_\w{16,}"),
        (b"earer ", rb"\b([Bb]earer )[\w.~+/=-]{8,}"),
        (b"uthorization", rb"\b([Aa]uthorization['\"]?: *['\"]?Basic )[\w.~+/=-]+"),
        (b"://", rb"(://)[^/\s@'\"<>]{1,300}(?=@)"),  # a login in an address
        (
            b"=",
            (
                rb"([?&](?:[\w-]{0,40}(?:[Tt]oken|TOKEN|[Ss]ignature|[Cc]redential|[Ss]ecret|[Pp]assword)"
                rb"|(?:api[_-]?)?key|Policy|Key-Pair-Id|sig)=)[^&\s'\"<>]+"
            ),
        ),
        (b"/api/webhooks/", rb"(/api/webhooks/\d{1,30}/)[\w-]+"),  # Discord
        (b"api.telegram.org/bot", rb"(api\.telegram\.org/bot)[\w:-]+"),
    )
)


def secrets(environment: Mapping[str, str] | None = None) -> tuple[bytes, ...]:
    """The secret values in `environment` (this process's own by default), the longest first."""
    found = set()
    for name, value in (os.environ if environment is None else environment).items():
        if _SECRET_NAME.search(name):
            found |= {value, *value.split()}
    long = (value.encode("utf-8", "surrogateescape") for value in found if len(value) >= SHORTEST)
    return tuple(sorted(long, key=lambda value: (-len(value), value)))


def redacted(data: bytes, values: Sequence[bytes]) -> bytes:
    """`data` with `values`, and whatever looks like a secret, blacked out; the lines stay as they are."""
    for value in values:
        if value in data:
            data = data.replace(value, BLACKED_OUT)
    for hint, pattern in _FORMS:
        if hint in data:
            data = pattern.sub(_keep_what_leads, data)
    return data


def _keep_what_leads(found: re.Match[bytes]) -> bytes:
    return (found[1] if found.re.groups else b"") + BLACKED_OUT


def uncut(data: bytes, at: int, values: Sequence[bytes]) -> int:
    """The last place up to `at` where `data` can be cut without cutting a secret in two."""
    for value in values:
        start = data.find(value, max(0, at - len(value) + 1), at + len(value) - 1)
        if 0 <= start < at:
            at = start
    for hint, pattern in _FORMS:
        if hint in data:
            inside = (found.start() for found in pattern.finditer(data) if found.start() < at < found.end())
            at = min((at, *inside))
    return at
