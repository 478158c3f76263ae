"""Wrong tries: how many, how fast, and counted where."""

import pytest
from gate_client import Clock

from ui import throttle
from ui.origins import Asked, counted_under
from ui.throttle import Throttle


def _key(peer: str, **headers: str) -> tuple[str, str]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return counted_under(Asked.of({"type": "http", "method": "GET", "headers": raw, "client": (peer, 1)}))


def test_a_guesser_gets_five_tries_and_then_one_every_20_seconds() -> None:
    clock = Clock(0.0)
    tries = Throttle(clock)
    looked_at = 0
    for clock.now_s in range(3600):
        while not tries.wait_s("outside", "a"):
            tries.failed("outside", "a")
            looked_at += 1
    assert 180 <= looked_at <= 185


def test_all_addresses_together_get_40_tries_and_then_one_every_two_seconds() -> None:
    clock = Clock(0.0)
    tries = Throttle(clock)
    looked_at = 0
    for clock.now_s in range(600):
        for address in range(50):
            if not tries.wait_s("outside", f"{clock.now_s}-{address}"):
                tries.failed("outside", f"{clock.now_s}-{address}")
                looked_at += 1
    assert 335 <= looked_at <= 345


def test_the_wait_that_is_told_is_enough() -> None:
    clock = Clock(0.0)
    tries = Throttle(clock)
    for _ in range(5):
        tries.failed("outside", "a")
    clock.now_s += tries.wait_s("outside", "a")
    assert tries.wait_s("outside", "a") == pytest.approx(0, abs=1e-6)


def test_a_million_addresses_take_a_bounded_room() -> None:
    tries = Throttle(Clock(0.0))
    for address in range(2 * throttle.MAX_ADDRESSES):
        tries.failed("outside", str(address))
    assert len(tries._addresses) == throttle.MAX_ADDRESSES
    assert ("outside", "0") not in tries._addresses


def test_whoever_sits_at_the_machine_is_counted_apart() -> None:
    assert _key("127.0.0.1") == _key("::1") == ("here", "loopback")


def test_a_tunnel_on_this_machine_is_counted_by_the_address_it_passes_on() -> None:
    assert _key("127.0.0.1", x_forwarded_for="9.9.9.9, 203.0.113.5") == ("outside", "203.0.113.5")
    assert _key("127.0.0.1", x_forwarded_for="203.0.113.5:4711") == ("outside", "203.0.113.5")
    assert _key("127.0.0.1", x_forwarded_proto="https") == ("outside", "127.0.0.1")


def test_an_address_that_another_computer_claims_is_not_believed() -> None:
    assert _key("203.0.113.5", x_forwarded_for="198.51.100.1") == ("outside", "203.0.113.5")


def test_claimed_loopback_is_not_the_machine_itself() -> None:
    assert _key("127.0.0.1", x_forwarded_for="127.0.0.1")[0] == "outside"


def test_one_ipv6_network_is_one_address() -> None:
    assert _key("2001:db8:1:2::1") == _key("2001:db8:1:2:ffff::9") == ("outside", "2001:db8:1:2::")
    assert _key("2001:db8:1:3::1") != _key("2001:db8:1:2::1")
    assert _key("::ffff:203.0.113.5") == _key("203.0.113.5")


def test_what_is_no_address_shares_one_bucket() -> None:
    assert (
        _key("127.0.0.1", x_forwarded_for="a")
        == _key("127.0.0.1", x_forwarded_for="b")
        == ("outside", "unknown")
    )
