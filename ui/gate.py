"""The gate: no byte of the app goes to anybody who has not shown the token.

Covered: every http request and every websocket, on loopback too, because a tunnel ends there. The token is
exchanged for a cookie, by the link or by the sign-in page; wrong tries are slowed; requests that pages of
other addresses make with the browser's cookie are refused; `--no-token` for one's own machine. A plain ASGI
class, because Starlette's `BaseHTTPMiddleware` lets websockets through.

Not covered: several users with different rights, and encryption. A tunnel or a proxy brings HTTPS.
Everything is explained for users in `docs/access.md`. `python -m ui.gate link` prints the link again.
"""

import asyncio
import math
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware

from lora_core.errors import LoraError, WorkspaceError
from ui import gate_link, gate_settings, login_page, origins, tokens
from ui.gate_answers import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    cookie_header,
    guarded,
    read_off,
    refuse_socket,
    same_place,
    tokens_in,
    with_own_origin,
)
from ui.gate_settings import GateState, gate_state
from ui.origins import Asked
from ui.throttle import Throttle
from ui.tokens import COOKIE_LIFE_S, Access

__all__ = ["Gate", "GateState", "gate_middleware", "gate_state"]

FORM_LIMIT: Final = 4096
FORM_WAIT_S: Final = 10.0
"""The form of the sign-in page: its largest body, and how long one may take to send it."""
KNOWN_ADDRESSES: Final = 32
NO_COOKIE: Final = 4401
FOREIGN_PAGE: Final = 4403
"""Close codes of a refused websocket: for want of the cookie, and for a page of another address."""

_SIGN_IN_FIRST: Final = (
    "This app needs its access token. Open it with the link that was printed where it was started."
)
_FORM: Final = "application/x-www-form-urlencoded"


class Gate:
    """Stands before the app and lets through only what shows the cookie.

    `access` may be None only where `state` says that no token is asked for.
    """

    def __init__(
        self,
        app: App,
        *,
        access: Access | None,
        state: GateState,
        listed: frozenset[str] = frozenset(),
        on_start: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        throttle: Throttle | None = None,
    ) -> None:
        if state.token and access is None:
            raise ValueError("a gate with a token needs the access")
        self._app = app
        self._access = access if state.token else None
        self._state = state
        self._listed = listed
        self._on_start = on_start
        self._clock = clock
        self._throttle = throttle or Throttle()
        self._addresses: OrderedDict[str, None] = OrderedDict()

    def describe(self) -> GateState:
        """How this gate stands, for a page that shows it."""
        return self._state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in {"http", "websocket"}:
            asked = Asked.of(scope)
            if self._access is None:
                await self._without_token(asked, scope, receive, send)
            else:
                await self._with_token(self._access, asked, scope, receive, send)
        # Any other kind of request is not answered: the gate does not know how to check it.

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and end of the server. It does not start without a token where others reach it."""
        if self._access is None and gate_settings.open_to_others(gate_settings.listening()):
            await receive()
            told = "Not started: --no-token is for one computer alone; this server listens to others."
            await send({"type": "lifespan.startup.failed", "message": told})
            return

        async def send_and_tell(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._on_start()

        await self._app(scope, receive, send_and_tell)

    # --- without a token ---------------------------------------------------------------------

    async def _without_token(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        why = origins.why_not_here(asked)
        if not why:
            await self._pass_on(scope, receive, send)
        elif asked.websocket:
            await refuse_socket(receive, send, FOREIGN_PAGE)
        else:
            await read_off(receive)
            fix = "Open it on that computer at http://localhost, or start it again without --no-token."
            told = f"This app was started with --no-token, for the computer it runs on alone. {why}"
            await _refuse(asked, scope, send, 403, "Not available from here", told, fix)

    # --- with the token ----------------------------------------------------------------------

    async def _with_token(
        self, access: Access, asked: Asked, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = Headers(scope=scope)
        shown = access.read_cookies(headers.getlist("cookie"), self._clock())
        given = tokens_in(scope.get("query_string", b"")) if asked.reads else []
        is_form = asked.method == "POST" and headers.get("content-type", "").lower().startswith(_FORM)
        if shown is not None and (given or (is_form and asked.mode == "navigate")):
            # Signed in already: a second use of the link, or of a sign-in page that was left open.
            right = len(given) == 1 and self._is_right(access, given[0])
            await self._go_on(access, asked, scope, send, renew=right)
        elif shown is not None and not self._is_own(asked, shown.origin):
            await self._refuse_foreign(asked, scope, receive, send)
        elif shown is not None:
            self._remember(origins.own_address(asked))
            await self._pass_on(scope, receive, send)
        elif asked.websocket:
            await refuse_socket(receive, send, NO_COOKIE)
        elif given:
            await self._try(access, asked, scope, send, given)
        elif is_form:
            form = await _read_form(receive, headers.get("content-length", ""))
            if form is None:
                await read_off(receive)
                await answer(send, 413, "The form is too large or came too slowly.\n", html=False)
            else:
                await self._try(access, asked, scope, send, form)
        else:
            await read_off(receive)
            await _ask(asked, scope, send)

    async def _try(self, access: Access, asked: Asked, scope: Scope, send: Send, given: list[str]) -> None:
        """Exchange the token for the cookie, or say that it is wrong, or that it was not looked at."""
        group, address = origins.counted_under(asked)
        wait_s = math.ceil(self._throttle.wait_s(group, address))
        if wait_s:
            # Not looked at, even if it is right: otherwise slowing would not slow a guesser.
            seconds = f"{wait_s} second{'s' if wait_s > 1 else ''}"
            told = f"There were too many tries. Wait {seconds}. Then sign in again."
            await _ask(asked, scope, send, 429, told, {"retry-after": str(wait_s)})
        elif len(given) == 1 and self._is_right(access, given[0]):
            await self._go_on(access, asked, scope, send, renew=True)
        else:
            self._throttle.failed(group, address)
            await _ask(
                asked, scope, send, 401, "This is not the token of this app. Copy the whole link or token."
            )

    def _is_right(self, access: Access, shown: str) -> bool:
        return access.is_right(shown) or access.use_once(shown, self._clock())

    async def _go_on(self, access: Access, asked: Asked, scope: Scope, send: Send, *, renew: bool) -> None:
        """Send the browser to the same place without the token, with a cookie if `renew`."""
        headers = {"location": same_place(scope)}
        if renew:
            # Whoever shows the token may also say at which address the app is reached (see `origins.is_own`).
            value = access.new_cookie(self._clock(), origins.clean_origin(asked.origin)[:200])
            headers["set-cookie"] = cookie_header(
                access.cookie_name, value, COOKIE_LIFE_S, secure=asked.secure
            )
        await answer(send, 303, "", html=False, headers=headers)

    # --- pages of other addresses ------------------------------------------------------------

    def _is_own(self, asked: Asked, signed_in_at: str) -> bool:
        known = {*self._addresses, signed_in_at} - {""}
        return origins.is_own(asked, known, self._listed)

    def _remember(self, address: str) -> None:
        if address:
            self._addresses[address] = None
            self._addresses.move_to_end(address)
            while len(self._addresses) > KNOWN_ADDRESSES:
                self._addresses.popitem(last=False)

    async def _refuse_foreign(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        if asked.websocket:
            await refuse_socket(receive, send, FOREIGN_PAGE)
            return
        await read_off(receive)
        why = "A page of another address asked for this with the sign-in of your browser."
        fix = "If that page is your own proxy, name its address in LORA_ALLOWED_ORIGINS. See docs/access.md."
        await _refuse(asked, scope, send, 403, "Not shown", why, fix)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner = {**scope, "headers": with_own_origin(list(scope["headers"]))}
        await self._app(inner, receive, guarded(send) if scope["type"] == "http" else send)


async def _read_form(receive: Receive, length: str) -> list[str] | None:
    """The tokens in the body of the sign-in form; None when it is too large or too slow."""
    if length.isdecimal() and (len(length) > 9 or int(length) > FORM_LIMIT):
        return None
    body = b""
    try:
        async with asyncio.timeout(FORM_WAIT_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > FORM_LIMIT:
                    return None
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        return None
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return []  # more fields than a form of ours has
    return [_token_of(value.strip()) for name, value in fields if name == "token"]


def _token_of(pasted: str) -> str:
    """The token in a pasted link, or what was pasted."""
    if pasted.startswith(("http://", "https://")) and "token=" in pasted:
        try:
            found = tokens_in(urlsplit(pasted).query.encode("utf-8", "replace"))
        except ValueError:
            return pasted
        return found[0] if len(found) == 1 else pasted
    return pasted


def _wants_page(asked: Asked, scope: Scope) -> bool:
    """A browser that goes somewhere gets a page; whatever a page loads gets a short text."""
    return asked.mode in {"", "navigate"} and "text/html" in Headers(scope=scope).get("accept", "")


async def _ask(
    asked: Asked,
    scope: Scope,
    send: Send,
    status: int = 401,
    problem: str = "",
    headers: Mapping[str, str] | None = None,
) -> None:
    """The page that asks for the token, or the short text that says so."""
    html = _wants_page(asked, scope)
    body = login_page.login(problem) if html else f"{problem or _SIGN_IN_FIRST}\n"
    # With no-referrer a browser hides the address from our own form as well, and the cookie could not be
    # bound to it. Other servers are told nothing either way.
    more = {"referrer-policy": "same-origin", **(headers or {})}
    if status == 401:
        more["www-authenticate"] = "Token"  # the standard asks for one; browsers know none by that name
    await answer(send, status, body, html=html, head=asked.method == "HEAD", headers=more)


async def _refuse(
    asked: Asked, scope: Scope, send: Send, status: int, title: str, why: str, fix: str
) -> None:
    html = _wants_page(asked, scope)
    body = login_page.refusal(title, why, fix) if html else f"{why} {fix}\n"
    await answer(send, status, body, html=html, head=asked.method == "HEAD")


# --- how the app gets it -----------------------------------------------------------------------


def gate_middleware(environ: Mapping[str, str] | None = None) -> list[Middleware]:
    """The gate as Starlette's middleware, set up from the environment and the workspace.

    Raises:
        SystemExit: the environment asks for something that would let strangers in. The server does not start.
    """
    env = os.environ if environ is None else environ
    try:
        state, listed = gate_state(env), gate_settings.listed_origins(env)
    except LoraError as error:
        raise SystemExit(f"\n{error.what}\n  Why: {error.why}\n  What to do: {error.fix}\n") from error
    access = None
    if state.token:
        try:
            access = tokens.load(gate_link.workspace(env), env)
        except WorkspaceError as error:
            # The pages tell about the workspace; for that the server must come up, and behind its gate.
            sys.stderr.write(f"{error}\nUntil then the sign-in link changes at every start.\n")
            access = tokens.for_this_start_only(env)
    return [
        Middleware(
            Gate,
            access=access,
            state=state,
            listed=listed,
            on_start=lambda: gate_link.server_is_up(sys.stdout, access, state, env),
        )
    ]


def main(arguments: list[str]) -> int:
    """`python -m ui.gate link`: the link that signs a browser in, alone on its line.

    `python -m ui.gate link-once`: one that is good once and for two minutes, to open a browser with.
    `python -m ui.gate running`: where an app of this user listens at `LORA_PORT`, an address a line.
    """
    if arguments == ["running"]:
        addresses = gate_settings.app_addresses(gate_settings.asked_port(os.environ))
        sys.stdout.write("".join(f"{address}\n" for address in addresses))
        return 0
    if arguments not in (["link"], ["link-once"]):
        sys.stderr.write("Usage: python -m ui.gate link|link-once|running\n")
        return 2
    try:
        link = gate_link.made(os.environ, once=arguments == ["link-once"], advise=sys.stderr)
    except LoraError as error:
        sys.stderr.write(f"{error.what}\n  Why: {error.why}\n  What to do: {error.fix}\n")
        return 1
    sys.stdout.write(f"{link}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
