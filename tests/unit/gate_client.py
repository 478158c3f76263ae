"""Asks a gate as a server would, without a server: one http request or one websocket at a time."""

import asyncio
import atexit
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ui.gate import Gate
from ui.gate_settings import GateState
from ui.throttle import Throttle
from ui.tokens import Access

TOKEN = "right-token-of-this-test"
ACCESS = Access(TOKEN, b"k" * 32)
NOW_S = 1_800_000_000.0
HTML = {"accept": "text/html"}

_RUNNER = asyncio.Runner()  # one loop for all requests; a new one for each took most of the time
atexit.register(_RUNNER.close)


@dataclass
class Answer:
    """What came back, and what the app behind the gate saw."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    passed: dict[str, Any] | None = None

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def code(self) -> int:
        assert [message["type"] for message in self.sent] == ["websocket.close"], self.sent
        return int(self.sent[0]["code"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def cookie(self) -> str:
        """`name=value` of the cookie that was set; empty without one."""
        return self.headers.get("set-cookie", "").partition(";")[0]


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Client:
    """A gate before an app that answers everything with `inside`."""

    def __init__(
        self, *, token: bool = True, access: Access = ACCESS, listed: frozenset[str] = frozenset()
    ) -> None:
        self.clock = Clock()
        self.answer = Answer()
        self.app_headers: list[tuple[bytes, bytes]] = []
        self.gate = Gate(
            self._app,
            access=access if token else None,
            state=GateState(token=token),
            listed=listed,
            clock=self.clock,
            throttle=Throttle(self.clock),
        )

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.answer.passed = dict(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": list(self.app_headers)})
            await send({"type": "http.response.body", "body": b"inside"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})

    def ask(self, scope: dict[str, Any], messages: list[dict[str, Any]]) -> Answer:
        """Run one request with the messages that the server would hand over."""
        self.answer = Answer()
        waiting = list(messages)

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": f"{scope['type']}.disconnect"}

        async def send(message: Any) -> None:
            self.answer.sent.append(dict(message))

        _RUNNER.run(self.gate(scope, receive, send))
        return self.answer

    def http(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        query: str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        cookie: str = "",
        body: bytes = b"",
        peer: tuple[str, int] | None = ("127.0.0.1", 50000),
        scheme: str = "http",
    ) -> Answer:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode() if isinstance(query, str) else query,
            "headers": _raw(headers, cookie),
            "client": peer,
            "scheme": scheme,
        }
        return self.ask(scope, [{"type": "http.request", "body": body, "more_body": False}])

    def socket(
        self,
        headers: Mapping[str, str] | None = None,
        *,
        cookie: str = "",
        query: bytes = b"",
        peer: tuple[str, int] | None = ("127.0.0.1", 50000),
    ) -> Answer:
        scope = {
            "type": "websocket",
            "path": "/_stcore/stream",
            "query_string": query,
            "headers": _raw(headers, cookie),
            "client": peer,
            "scheme": "ws",
        }
        return self.ask(scope, [{"type": "websocket.connect"}])

    def form(self, token: str, **more: Any) -> Answer:
        """Send the sign-in form."""
        from urllib.parse import urlencode

        headers = {**HTML, "content-type": "application/x-www-form-urlencoded", **more.pop("headers", {})}
        return self.http(method="POST", body=urlencode({"token": token}).encode(), headers=headers, **more)

    def signed_in(self) -> str:
        """The cookie of a browser that used the link."""
        return self.http(query=f"token={TOKEN}").cookie


def _raw(headers: Mapping[str, str] | None, cookie: str) -> list[tuple[bytes, bytes]]:
    everything = {"host": "127.0.0.1:8501", **(headers or {})}
    if cookie:
        everything["cookie"] = cookie
    return [(name.encode(), value.encode("latin-1")) for name, value in everything.items() if value != "-"]


def each(*cases: Any) -> Callable[[Any], Any]:
    """Parametrize over single values named `case`."""
    import pytest

    return pytest.mark.parametrize("case", cases)
