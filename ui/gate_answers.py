"""What the gate itself sends, and what it adds to the answers of the app.

Covered: pages and short texts, redirects, the refusal of a websocket, and headers that keep an answer out of
shared caches and foreign frames. Not covered: which of them a request gets (`ui/gate.py`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import quote, unquote_plus

from ui import login_page

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

PAGE_POLICY: Final = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob: ws: wss:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Content-Security-Policy of the app's pages: they load nothing from other computers.

A caption or a file's own description may name a picture elsewhere, and Streamlit fetches the icon of the
browser tab from a public service when a page has a Material icon (1.67). Either would tell somebody that the
app is in use. Streamlit and its grid need inline scripts and eval; websockets of any host, because not every
browser counts them under 'self'.
"""

READ_OFF_LIMIT: Final = 2**20
READ_OFF_S: Final = 5.0
_PATH_SAFE: Final = "/:@!$&'()*+,;=-._~"
_QUERY_SAFE: Final = _PATH_SAFE + "?%"

_ALWAYS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": login_page.POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


async def answer(
    send: Send,
    status: int,
    body: str,
    *,
    html: bool,
    head: bool = False,
    headers: Mapping[str, str] | None = None,
) -> None:
    """One page or text of the gate, with `headers` besides those that all of them have."""
    data = body.encode()
    everything = {
        "content-type": f"text/{'html' if html else 'plain'}; charset=utf-8",
        "content-length": str(len(data)),
        **_ALWAYS,
        **(headers or {}),
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in everything.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head else data})


async def read_off(receive: Receive) -> None:
    """Take in the body of a request that is refused, within limits.

    A server that closes the connection on an unread body may reset it, and the client, or the proxy before
    it, then never sees why it was refused.
    """
    left = READ_OFF_LIMIT
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READ_OFF_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def refuse_socket(receive: Receive, send: Send, code: int) -> None:
    """Close a websocket before it is open; the client sees 403."""
    message = await receive()
    if message["type"] == "websocket.connect":  # else the client has gone already
        await send({"type": "websocket.close", "code": code, "reason": ""})


def cookie_header(name: str, value: str, life_s: int, *, secure: bool) -> str:
    """A cookie that scripts cannot read and other sites' pages do not send."""
    return f"{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax" + (
        "; Secure" if secure else ""
    )


def tokens_in(query: bytes) -> list[str]:
    """Every value of `token` in a query string, however it is written."""
    found = []
    for part in query.split(b"&"):
        name, _, value = part.decode("latin-1").partition("=")
        if unquote_plus(name) == "token":
            found.append(unquote_plus(value))
    return found


def same_place(scope: Scope) -> str:
    """The path and query of the request without the token, safe to stand in a `Location` header.

    Only ever a path of this server: `//host` and `/\\host`, which browsers read as another server, lose
    their first characters, and everything that is not plain is percent-encoded, line ends included.
    """
    path = str(scope.get("path", "")).lstrip("/\\").encode("utf-8", "replace")
    query = b"&".join(
        part for part in scope.get("query_string", b"").split(b"&") if part and not tokens_in(part)
    )
    return "/" + quote(path, safe=_PATH_SAFE) + ("?" + quote(query, safe=_QUERY_SAFE) if query else "")


def with_own_origin(headers: RawHeaders) -> RawHeaders:
    """The headers with `Origin`, which the gate has checked, put as this server's own.

    Streamlit compares it with `Host` once more. Where a tunnel rewrote `Host` it would refuse the websocket,
    and before that ask a public service for the address of this machine (Streamlit 1.67).
    """
    hosts = [value for name, value in headers if name == b"host"]
    others = [(name, value) for name, value in headers if name != b"origin"]
    if len(others) < len(headers) and hosts:
        others.append((b"origin", b"http://" + hosts[0]))
    return others


def guarded(send: Send) -> Send:
    """`send`, with headers that keep the app's answers out of shared caches and foreign frames.

    A cache in a tunnel would hand a picture or a script that a signed-in browser loaded to the next stranger;
    public services cache such files by their suffix when nothing forbids it. Pages also get `PAGE_POLICY`.
    """

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", [])]
            told = b", ".join(value for name, value in headers if name == b"cache-control")
            rest = [(n, v) for n, v in headers if n not in {b"cache-control", b"x-frame-options"}]
            rest += [(b"cache-control", _private(told)), (b"x-frame-options", b"SAMEORIGIN")]
            if any(n == b"content-type" and v.lower().startswith(b"text/html") for n, v in rest):
                rest.append((b"content-security-policy", PAGE_POLICY.encode()))
            message = {**message, "headers": rest}
        await send(message)

    return send_guarded


def _private(told: bytes) -> bytes:
    parts = [part.strip() for part in told.decode("latin-1").lower().split(",") if part.strip()]
    kept = [part for part in parts if part not in {"public", "private"} and not part.startswith("s-maxage")]
    return ", ".join(["private", *kept]).encode("latin-1")
