"""What the gate lets through and what it answers, at the level of the server's messages."""

import re

import pytest
from gate_client import ACCESS, HTML, NOW_S, TOKEN, Client

from ui import login_page
from ui.tokens import Access

LINK = f"token={TOKEN}"
PATHS = [
    "/",
    "/Dataset",
    "/_stcore/health",
    "/media/a.png",
    "/app/static/a.webp",
    "/thumbs/a.webp",
    "/component/x/y",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "WHATEVER"]
)
def test_nothing_passes_without_the_cookie(path: str, method: str) -> None:
    answer = Client().http(path, method=method)
    assert answer.passed is None
    assert answer.status == 401


@pytest.mark.parametrize("path", PATHS)
def test_everything_passes_with_the_cookie(path: str) -> None:
    client = Client()
    answer = client.http(path, cookie=client.signed_in())
    assert answer.passed is not None
    assert answer.body == "inside"


def test_a_websocket_without_the_cookie_is_closed_before_it_opens() -> None:
    answer = Client().socket()
    assert answer.code == 4401
    assert answer.passed is None


def test_the_token_itself_does_not_open_a_websocket() -> None:
    assert Client().socket(query=LINK.encode()).code == 4401


def test_a_websocket_opens_with_the_cookie() -> None:
    client = Client()
    assert client.socket(cookie=client.signed_in()).sent == [{"type": "websocket.accept"}]


def test_a_kind_of_request_that_the_gate_does_not_know_is_not_passed_on() -> None:
    client = Client()
    answer = client.ask({"type": "webtransport", "headers": []}, [])
    assert answer.passed is None
    assert answer.sent == []


# --- the link ----------------------------------------------------------------------------------


def test_the_link_leads_to_the_same_place_without_the_token_and_leaves_a_cookie() -> None:
    answer = Client().http("/Training", query=f"run=7&{LINK}&tab=loss")
    assert (answer.status, answer.headers["location"]) == (303, "/Training?run=7&tab=loss")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert re.search(r"; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax$", answer.headers["set-cookie"])


def test_the_cookie_does_not_hold_the_token() -> None:
    assert TOKEN not in Client().signed_in()


@pytest.mark.parametrize(
    ("scheme", "headers", "secure"),
    [
        ("http", {}, False),
        ("https", {}, True),
        ("http", {"x-forwarded-proto": "https"}, True),
        ("http", {"x-forwarded-proto": "http"}, False),
        ("http", {"x-forwarded-proto": "https, http"}, True),
    ],
)
def test_the_cookie_is_kept_to_https_where_the_browser_came_by_it(
    scheme: str, headers: dict[str, str], secure: bool
) -> None:
    answer = Client().http(query=LINK, scheme=scheme, headers=headers)
    assert answer.headers["set-cookie"].endswith("; Secure") is secure


@pytest.mark.parametrize(
    "query",
    [
        "token=wrong",
        "token=",
        f"token={TOKEN}x",
        f"{LINK}&token=x",
        f"{LINK}&{LINK}",
        f"Token={TOKEN}",
        f"token={TOKEN.upper()}",
    ],
)
def test_a_wrong_or_doubtful_token_gives_no_cookie(query: str) -> None:
    answer = Client().http(query=query, headers=HTML)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_a_second_use_of_the_link_renews_the_cookie() -> None:
    client = Client()
    first = client.signed_in()
    client.clock.now_s += 1000
    again = client.http(query=LINK, cookie=first)
    assert again.status == 303
    assert again.cookie not in {"", first}


def test_a_wrong_token_beside_a_right_cookie_costs_nothing() -> None:
    client = Client()
    cookie = client.signed_in()
    answers = [client.http(query="token=old&a=1", cookie=cookie) for _ in range(50)]
    assert {(a.status, a.headers["location"], a.cookie) for a in answers} == {(303, "/?a=1", "")}
    assert client.http(query=LINK).status == 303


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//evil.example", "/evil.example"),
        ("///evil.example/a", "/evil.example/a"),
        ("/\\evil.example", "/evil.example"),
        ("\\\\evil.example", "/evil.example"),
        ("https://evil.example/", "/https://evil.example/"),
        ("/a\r\nSet-Cookie: x=y", "/a%0D%0ASet-Cookie:%20x=y"),
        ("/\t/evil.example", "/%09/evil.example"),
        ("/ä\udcff?#", "/%C3%A4%3F%3F%23"),
        ("", "/"),
    ],
)
def test_the_redirect_stays_on_this_server(path: str, location: str) -> None:
    assert Client().http(path, query=LINK).headers["location"] == location


def test_the_kept_query_cannot_break_the_header() -> None:
    answer = Client().http(query=b"a=\r\nX: y\xff&&" + LINK.encode() + b"&%74oken=z2")
    assert answer.status == 401  # the second token is one too, however it is written
    answer = Client().http(query=b"a=\r\nX: y\xff&&" + LINK.encode())
    assert answer.headers["location"] == "/?a=%0D%0AX:%20y%FF"


# --- the cookie --------------------------------------------------------------------------------


def test_the_cookie_lasts_30_days() -> None:
    client = Client()
    cookie = client.signed_in()
    client.clock.now_s = NOW_S + 30 * 24 * 3600 - 1
    assert client.http(cookie=cookie).status == 200
    client.clock.now_s += 1
    assert client.http(cookie=cookie).status == 401


def test_the_cookie_survives_a_restart_and_ends_with_its_token() -> None:
    cookie = Client().signed_in()
    assert Client(access=Access(TOKEN, ACCESS.key)).http(cookie=cookie).status == 200
    assert Client(access=Access("another-token", ACCESS.key)).http(cookie=cookie).status == 401
    assert Client(access=Access(TOKEN, b"z" * 32)).http(cookie=cookie).status == 401


def test_one_changed_character_makes_the_cookie_wrong() -> None:
    client = Client()
    name, _, value = client.signed_in().partition("=")
    for at in range(len(value)):
        changed = value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
        assert client.http(cookie=f"{name}={changed}").status == 401, f"changed at {at}"


def test_the_right_cookie_is_found_among_odd_ones() -> None:
    client = Client()
    right = client.signed_in()
    name = right.partition("=")[0]
    assert client.http(cookie=f'; ;=;a;;b="; x=\x80;{name}=wrong; {right} ;{name}').status == 200


def test_cookies_of_two_workspaces_do_not_take_each_others_place() -> None:
    assert Access(TOKEN, b"a" * 32).cookie_name != Access(TOKEN, b"b" * 32).cookie_name


# --- the sign-in page --------------------------------------------------------------------------


def test_a_browser_gets_one_page_that_asks_for_the_token() -> None:
    answer = Client().http("/Dataset", headers=HTML)
    assert answer.status == 401
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-frame-options"] == "DENY"
    assert 'autocomplete="current-password"' in answer.body
    assert "<script" not in answer.body


def test_what_a_page_loads_gets_a_short_text_instead() -> None:
    answer = Client().http("/a.js", headers={"accept": "text/html", "sec-fetch-mode": "no-cors"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert len(answer.body) < 200


def test_the_head_of_the_page_has_no_body() -> None:
    answer = Client().http(method="HEAD", headers=HTML)
    assert answer.body == ""
    assert int(answer.headers["content-length"]) > 0


def test_the_form_is_exchanged_like_the_link() -> None:
    answer = Client().form(TOKEN, path="/Dataset", query="a=1")
    assert (answer.status, answer.headers["location"]) == (303, "/Dataset?a=1")
    assert Client().http(cookie=answer.cookie).status == 200


@pytest.mark.parametrize(
    "pasted", [f" {TOKEN}\n", f"http://127.0.0.1:8501/?token={TOKEN}", f"https://a.b/x?c=1&{LINK}"]
)
def test_the_form_takes_a_pasted_link_and_stray_spaces(pasted: str) -> None:
    assert Client().form(pasted).status == 303


def test_a_wrong_token_in_the_form_is_answered_with_the_page_and_the_reason() -> None:
    answer = Client().form("<script>alert(1)</script>")
    assert answer.status == 401
    assert 'role="alert"' in answer.body
    assert "<script" not in answer.body


def test_a_form_that_was_left_open_leads_on_once_signed_in() -> None:
    client = Client()
    answer = client.form(
        "old", path="/Dataset", cookie=client.signed_in(), headers={"sec-fetch-mode": "navigate"}
    )
    assert (answer.status, answer.headers["location"]) == (303, "/Dataset")


def test_a_large_form_is_refused_by_its_announced_and_by_its_real_size() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    announced = Client().http(method="POST", headers={**form, "content-length": "4097"})
    real = Client().http(method="POST", headers=form, body=b"token=" + b"x" * 4096)
    assert (announced.status, real.status) == (413, 413)


def test_a_form_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from ui import gate

    monkeypatch.setattr(gate, "FORM_WAIT_S", 0.05)

    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    assert asyncio.run(gate._read_form(never, "")) is None


@pytest.mark.parametrize(
    "body", [b"", b"token", b"token=%ff%00", b"a=1&" * 50, b"\xff\xfe", b"token=a&token=b"]
)
def test_an_odd_form_is_a_wrong_try(body: bytes) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert Client().http(method="POST", headers=form, body=body).status == 401


# --- tries -------------------------------------------------------------------------------------


def test_wrong_tries_of_one_address_are_slowed_and_not_looked_at() -> None:
    client = Client()
    assert [client.http(query="token=no").status for _ in range(5)] == [401] * 5
    slowed = client.http(query=LINK, headers=HTML)
    assert (slowed.status, slowed.cookie) == (429, "")
    assert int(slowed.headers["retry-after"]) == 20
    assert client.form(TOKEN).status == 429
    client.clock.now_s += 20
    assert client.http(query=LINK).status == 303


def test_a_flood_from_one_address_shuts_nobody_else_out() -> None:
    client = Client()
    for _ in range(500):
        client.http(query="token=no", peer=("203.0.113.5", 1))
    assert client.http(query=LINK, peer=("203.0.113.6", 1)).status == 303


def test_a_flood_of_all_addresses_is_slowed_as_a_whole_and_leaves_this_machine_free() -> None:
    client = Client()
    statuses = [
        client.http(query="token=no", peer=(f"198.51.{n // 250}.{n % 250}", 1)).status for n in range(500)
    ]
    assert statuses.count(401) == 40
    assert client.http(query=LINK, peer=("203.0.113.6", 1)).status == 429
    assert client.http(query=LINK).status == 303


def test_made_up_forwarded_addresses_do_not_get_around_the_limit() -> None:
    client = Client()
    statuses = [
        client.http(query="token=no", headers={"x-forwarded-for": f"10.0.{n // 250}.{n % 250}"}).status
        for n in range(500)
    ]
    assert statuses.count(401) == 40


def test_a_right_cookie_is_never_slowed() -> None:
    client = Client()
    cookie = client.signed_in()
    for _ in range(100):
        client.http(query="token=no")
    assert client.http(cookie=cookie).status == 200


def test_asking_for_the_page_is_no_try() -> None:
    client = Client()
    for _ in range(100):
        client.http(headers=HTML)
    assert client.http(query=LINK).status == 303


# --- pages of other addresses ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:9999"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8501.evil.example"},
        {"origin": "http://127.0.0.1:8501@evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_address_gets_nothing_with_the_cookie_of_the_browser(
    headers: dict[str, str],
) -> None:
    client = Client()
    cookie = client.signed_in()
    assert client.socket(headers, cookie=cookie).code == 4403
    for method in ("PUT", "POST", "DELETE", "GET"):
        answer = client.http("/_stcore/upload_file/a/b", method=method, headers=headers, cookie=cookie)
        assert (answer.status, answer.passed) == (403, None)


def test_a_link_on_another_site_opens_the_app() -> None:
    client = Client()
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.http("/Dataset", headers=followed, cookie=client.signed_in()).status == 200
    framed = {**followed, "sec-fetch-dest": "iframe"}
    assert client.http("/Dataset", headers=framed, cookie=client.signed_in()).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8501"},
        {"origin": "HTTP://127.0.0.1:8501"},
        {},
        {"host": "lora.example", "origin": "https://lora.example"},
        {"host": "lora.example:443", "origin": "https://lora.example"},
        {"host": "[::1]:8501", "origin": "http://[::1]:8501"},
        {"origin": "https://lora.example", "x-forwarded-host": "lora.example"},
        {"origin": "https://lora.example:8443", "x-forwarded-host": "inner, lora.example:8443"},
        {"origin": "https://lora.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_the_app_s_own_pages_pass_whatever_the_tunnel_does_to_host(headers: dict[str, str]) -> None:
    client = Client()
    cookie = client.signed_in()
    assert client.socket(headers, cookie=cookie).sent == [{"type": "websocket.accept"}]
    assert client.http(method="PUT", headers=headers, cookie=cookie).status == 200


def test_the_address_that_the_browser_proved_opens_the_websocket_that_says_less() -> None:
    client = Client()
    cookie = client.signed_in()
    socket = {"origin": "https://name.trycloudflare.example"}
    assert client.socket(socket, cookie=cookie).code == 4403
    fetched = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    client.http(
        "/_stcore/health",
        headers={**fetched, "referer": "https://name.trycloudflare.example/a"},
        cookie=cookie,
    )
    assert client.socket(socket, cookie=cookie).sent == [{"type": "websocket.accept"}]
    assert client.socket({"origin": "https://other.example"}, cookie=cookie).code == 4403


@pytest.mark.parametrize(
    "headers",
    [
        {
            "sec-fetch-site": "same-origin",
            "sec-fetch-dest": "font",
        },  # a style sheet's referer is its own address
        {"sec-fetch-site": "same-site", "sec-fetch-dest": "empty"},
        {"sec-fetch-dest": "empty"},
        {},
    ],
)
def test_a_referer_alone_proves_no_address(headers: dict[str, str]) -> None:
    client = Client()
    cookie = client.signed_in()
    client.http(headers={**headers, "referer": "https://evil.example/"}, cookie=cookie)
    assert client.socket({"origin": "https://evil.example"}, cookie=cookie).code == 4403


def test_nobody_without_the_cookie_proves_an_address() -> None:
    client = Client()
    proof = {"sec-fetch-site": "same-origin", "sec-fetch-dest": "empty", "referer": "https://evil.example/"}
    client.http(headers=proof)
    assert client.socket({"origin": "https://evil.example"}, cookie=client.signed_in()).code == 4403


def test_the_form_binds_the_cookie_to_the_address_it_was_sent_from_also_after_a_restart() -> None:
    cookie = Client().form(TOKEN, headers={"origin": "http://192.168.1.20:9000"}).cookie
    later = Client()
    assert later.socket({"origin": "http://192.168.1.20:9000"}, cookie=cookie).sent == [
        {"type": "websocket.accept"}
    ]
    assert later.socket({"origin": "http://192.168.1.21:9000"}, cookie=cookie).code == 4403


def test_addresses_that_the_user_lists_pass() -> None:
    client = Client(listed=frozenset({"https://lora.example"}))
    headers = {"origin": "https://lora.example", "sec-fetch-site": "same-site"}
    assert client.socket(headers, cookie=client.signed_in()).sent == [{"type": "websocket.accept"}]


def test_the_app_sees_its_own_address_as_the_origin() -> None:
    client = Client()
    headers = {"host": "inner:1", "origin": "https://lora.example", "x-forwarded-host": "lora.example"}
    passed = client.socket(headers, cookie=client.signed_in()).passed
    assert passed is not None
    assert [value for name, value in passed["headers"] if name == b"origin"] == [b"http://inner:1"]


# --- what the gate adds to the app's answers ---------------------------------------------------


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (None, "private"),
        ("public, immutable, max-age=31536000", "private, immutable, max-age=31536000"),
        ("max-age=60, s-maxage=600", "private, max-age=60"),
        ("no-store", "private, no-store"),
        ("private, max-age=5", "private, max-age=5"),
    ],
)
def test_no_cache_in_between_keeps_what_a_signed_in_browser_loaded(told: str | None, kept: str) -> None:
    client = Client()
    client.app_headers = [(b"cache-control", told.encode())] if told else []
    answer = client.http("/a.webp", cookie=client.signed_in())
    assert answer.headers["cache-control"] == kept
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


def test_pages_of_the_app_may_load_nothing_from_elsewhere() -> None:
    client = Client()
    client.app_headers = [(b"Content-Type", b"text/html; charset=utf-8")]
    policy = client.http(cookie=client.signed_in()).headers["content-security-policy"]
    assert policy.startswith("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:;")
    assert "http" not in policy
    client.app_headers = [(b"content-type", b"image/webp")]
    assert "content-security-policy" not in client.http(cookie=client.signed_in()).headers


# --- the page's look ---------------------------------------------------------------------------


def test_the_page_has_the_colours_of_the_app() -> None:
    import tomllib
    from pathlib import Path

    theme = tomllib.loads((Path(__file__).parents[2] / ".streamlit/config.toml").read_text("utf-8"))["theme"]
    light, dark = login_page.STYLE.split("@media")
    names = ("backgroundColor", "secondaryBackgroundColor", "textColor", "primaryColor", "borderColor")
    for name in (*names, "yellowTextColor", "yellowBackgroundColor"):
        assert theme["light"][name] in light, name
        assert theme["dark"][name] in dark, name


def test_the_page_s_style_is_the_only_thing_its_policy_allows() -> None:
    import base64
    import hashlib

    style = re.search("<style>(.*)</style>", login_page.login(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in login_page.POLICY
    assert "default-src 'none'" in login_page.POLICY
