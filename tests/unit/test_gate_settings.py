"""What the environment may ask of the gate, and `--no-token`."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gate_client import HTML, Client

from lora_core.errors import LoraError
from ui import gate, gate_settings
from ui.gate_settings import EVERYWHERE, GateState, base_url, gate_state, listed_origins
from ui.origins import PROXY_HEADERS

PROXIED = [*sorted(PROXY_HEADERS), "x-forwarded-for", "x-forwarded-anything", "cf-connecting-ip", "cf-ray"]


def test_by_default_a_token_is_needed_and_only_this_computer_is_served() -> None:
    state = gate_state({})
    assert state == GateState(token=True, listen="127.0.0.1", share=False)
    assert state.only_here


@pytest.mark.parametrize("address", ["1", EVERYWHERE, "192.168.1.20", "::", "my-computer"])
@pytest.mark.parametrize("off", ["1", "true", "YES"])
def test_no_token_does_not_go_with_listen(address: str, off: str) -> None:
    assert not gate_state({"LORA_LISTEN": address}).only_here
    with pytest.raises(LoraError, match="Leave out --no-token"):
        gate_state({"LORA_LISTEN": address, "LORA_NO_TOKEN": off})


def test_no_token_does_not_go_with_share() -> None:
    with pytest.raises(LoraError, match="Leave out --no-token"):
        gate_state({"LORA_SHARE": "1", "LORA_NO_TOKEN": "1"})


def test_the_server_ends_with_words_where_both_are_asked_for() -> None:
    with pytest.raises(SystemExit, match=r"anybody could come in(.|\n)*What to do"):
        gate.gate_middleware({"LORA_SHARE": "1", "LORA_NO_TOKEN": "1"})


@pytest.mark.parametrize("listen", ["", "127.0.0.1", "localhost", "::1", "0"])
def test_a_loopback_address_is_no_opening(listen: str) -> None:
    assert gate_state({"LORA_LISTEN": listen, "LORA_NO_TOKEN": "1"}).token is False


def test_each_state_has_a_sentence_of_its_own() -> None:
    states = [GateState(), GateState(token=False), GateState(share=True), GateState(listen=EVERYWHERE)]
    assert len({state.sentence for state in states}) == 4
    assert "--no-token" in GateState(token=False).sentence


def test_listed_addresses_are_read_and_a_wrong_one_is_told() -> None:
    named = {"LORA_ALLOWED_ORIGINS": "https://Lora.Example:443, http://10.0.0.2:9000"}
    assert listed_origins(named) == {"https://lora.example", "http://10.0.0.2:9000"}
    for wrong in ("lora.example", "*", "null", "ftp://a.b"):
        with pytest.raises(LoraError, match="no address"):
            listed_origins({"LORA_ALLOWED_ORIGINS": wrong})


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:8501"),
        (EVERYWHERE, "http://127.0.0.1:8501"),
        ("::", "http://127.0.0.1:8501"),
        ("::1", "http://[::1]:8501"),
        ("192.168.1.20", "http://192.168.1.20:8501"),
        ("my-computer", "http://my-computer:8501"),
    ],
)
def test_the_link_names_an_address_that_a_browser_reaches(address: str, base: str) -> None:
    assert base_url(address, 8501) == base


# --- --no-token --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8501", "127.0.0.1:9000", "[::1]:8501", "LOCALHOST:1"]
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.9.1"])
def test_without_a_token_this_computer_comes_in(host: str, peer: str) -> None:
    client = Client(token=False)
    headers = {"host": host, "origin": f"http://{host.lower()}"}
    assert client.http(headers={"host": host}, peer=(peer, 1)).status == 200
    assert client.http(method="PUT", headers=headers, peer=(peer, 1)).status == 200
    assert client.socket(headers, peer=(peer, 1)).sent == [{"type": "websocket.accept"}]


@pytest.mark.parametrize(
    "peer", [("192.168.1.20", 1), ("10.0.0.1", 1), ("", 0), ("testclient", 1), ("::", 1), None]
)
def test_without_a_token_another_computer_stays_out(peer: tuple[str, int] | None) -> None:
    client = Client(token=False)
    assert client.http(peer=peer).status == 403
    assert client.socket(peer=peer).code == 4403


@pytest.mark.parametrize("header", PROXIED)
def test_without_a_token_nothing_comes_through_a_proxy(header: str) -> None:
    client = Client(token=False)
    assert client.http(headers={header: "127.0.0.1"}).status == 403
    assert client.socket({header: "127.0.0.1"}).code == 4403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8501",
        f"{EVERYWHERE}:8501",
        "",
        "-",
        "localhost:99999",
        "localhost@evil.example",
        "127.0.0.1, evil.example",
        "[::2]",
        "localhost.",
        "2130706433",
    ],
)  # fmt: skip - more cases a line read better here
def test_without_a_token_a_name_that_leads_here_is_not_enough(host: str) -> None:
    client = Client(token=False)
    assert client.http(headers={"host": host}).status == 403
    assert client.socket({"host": host}).code == 4403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8501"},
    ],
)
def test_without_a_token_other_pages_in_the_browser_get_nothing(headers: dict[str, str]) -> None:
    client = Client(token=False)
    assert client.socket(headers).code == 4403
    assert client.http(method="PUT", headers=headers).status == 403
    assert client.http(headers=headers).status == 403


def test_the_refusal_says_why() -> None:
    answer = Client(token=False).http(headers={**HTML, "host": "evil.example"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "not this computer" in answer.body
    assert "--no-token" in answer.body


# --- the start of the server -------------------------------------------------------------------


@pytest.fixture(params=[EVERYWHERE, "127.0.0.1"])
def listener(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.socket() as server:
        server.bind((request.param, 0))
        server.listen()
        yield request.param


def test_without_a_token_the_server_starts_only_where_nobody_else_reaches_it(listener: str) -> None:
    client = Client(token=False)
    answer = client.ask({"type": "lifespan"}, [{"type": "lifespan.startup"}])
    if listener == "127.0.0.1":
        assert answer.passed is not None
    else:
        assert [message["type"] for message in answer.sent] == ["lifespan.startup.failed"]


def test_the_link_is_told_once_the_server_is_up() -> None:
    told: list[str] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        assert not told
        await send({"type": "lifespan.startup.complete"})

    async def nothing(*_: Any) -> Any:
        return {"type": "lifespan.startup"}

    standing = gate.Gate(app, access=None, state=GateState(token=False), on_start=lambda: told.append("link"))
    asyncio.run(standing({"type": "lifespan"}, nothing, nothing))
    assert told == ["link"]
    assert standing.describe().token is False


def test_a_gate_with_a_token_cannot_be_made_without_one() -> None:
    with pytest.raises(ValueError, match="needs the access"):
        gate.Gate(Client()._app, access=None, state=GateState())


def test_the_sockets_of_this_process_are_seen(listener: str) -> None:
    assert any(address == listener for address, _ in gate_settings.listening())
