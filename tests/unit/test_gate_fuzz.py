"""Whatever is sent, the gate answers without an error, and nothing passes without the token."""

from typing import Any

from gate_client import ACCESS, TOKEN, Client
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from(
    b"""cookie host origin referer accept content-type content-length x-forwarded-for x-forwarded-proto
    x-forwarded-host forwarded sec-fetch-site sec-fetch-mode sec-fetch-dest authorization x-odd""".split()
)
PIECES = st.sampled_from(
    [
        *rb"token= token=wrong %74oken=x & = ; //evil.example \ %0d%0a [::1 null http:// https://[".split(),
        *b":99999 127.0.0.1 application/x-www-form-urlencoded same-origin navigate text/html".split(),
        *(
            b"v1.",
            b"v1.1800000000..",
            ACCESS.cookie_name.encode(),
            b"0" * 64,
            b"9" * 20,
            b"\r\n",
            b"\xff\x00",
        ),
    ]
)
BYTES = st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=6).map(b"".join))
HEADERS = st.lists(st.tuples(st.one_of(NAMES, st.binary(min_size=1, max_size=12)), BYTES), max_size=8)
PEERS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["127.0.0.1", "::1", "1.2.3.4", "fe80::1%eth0", "x", ""]), st.just(1)),
)
SCOPES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["http", "websocket"]),
        "method": st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "x"]),
        "path": st.one_of(st.text(max_size=30), st.sampled_from(["//evil.example", "/\\evil", "/a\r\nb"])),
        "query_string": BYTES,
        "headers": HEADERS,
        "client": PEERS,
        "scheme": st.sampled_from(["http", "https", "ws", "wss", ""]),
    }
)


def _ask(client: Client, scope: dict[str, Any], body: bytes = b"") -> Any:
    first: dict[str, Any] = {"type": "websocket.connect"}
    if scope["type"] == "http":
        first = {"type": "http.request", "body": body, "more_body": False}
    return client.ask(dict(scope), [first])


@settings(max_examples=400, deadline=None)
@given(scope=SCOPES, body=BYTES)
def test_nothing_passes_without_the_token(scope: dict[str, Any], body: bytes) -> None:
    answer = _ask(Client(), scope, body)
    assert answer.passed is None
    if scope["type"] == "http":
        assert answer.status in {401, 413, 429}
        assert "set-cookie" not in answer.headers
    else:
        assert answer.code == 4401


@settings(max_examples=200, deadline=None)
@given(scope=SCOPES)
def test_odd_requests_with_the_cookie_or_the_token_are_answered(scope: dict[str, Any]) -> None:
    client = Client()
    cookie = f"{ACCESS.cookie_name}={ACCESS.new_cookie(client.clock())}".encode()
    _ask(client, {**scope, "headers": [*scope["headers"], (b"cookie", cookie)]})
    answer = _ask(client, {**scope, "query_string": scope["query_string"] + b"&token=" + TOKEN.encode()})
    if scope["type"] == "http" and answer.status == 303:
        place = answer.headers["location"]
        assert place.startswith("/")
        assert not place.startswith(("//", "/\\"))
        assert place.isascii()
        assert place.isprintable()
        assert TOKEN not in place


@settings(max_examples=200, deadline=None)
@given(scope=SCOPES)
def test_without_a_token_only_this_computer_passes(scope: dict[str, Any]) -> None:
    answer = _ask(Client(token=False), scope)
    if answer.passed is not None:
        headers = dict(reversed(scope["headers"]))
        assert scope["client"][0] in {"127.0.0.1", "::1"}
        assert headers.get(b"host", b"").strip().lower().startswith((b"127.0.0.1", b"localhost", b"[::1]"))
        assert not any(name.startswith((b"x-forwarded", b"forwarded")) for name in headers)
