"""How the gate was told to stand: with a token or without, for this machine or for others.

Covered: the `LORA_` variables of the gate, what Home shows about it, the base of the link, and what the
server really listens on. Not covered: what a request gets (`ui/gate.py`).
"""

import ipaddress
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from lora_core.errors import LoraError
from ui.origins import clean_origin, is_loopback

DEFAULT_PORT: Final = 8501
LOOPBACK: Final = "127.0.0.1"
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - named to be recognised, never bound here
_YES: Final = frozenset({"1", "true", "yes", "on"})
_HERE: Final = frozenset({"", "0", "false", "no", "off", "localhost", LOOPBACK, "::1"})


@dataclass(frozen=True, kw_only=True, slots=True)
class GateState:
    """How the gate stands."""

    token: bool = True
    """False after `--no-token`: whoever sits at this machine may use the app."""
    listen: str = LOOPBACK
    """The address that the server was told to listen on."""
    share: bool = False
    """A tunnel with a public link was asked for."""

    @property
    def only_here(self) -> bool:
        """No other computer reaches the server, unless through a tunnel of the user's own."""
        return self.listen == LOOPBACK and not self.share

    @property
    def sentence(self) -> str:
        """The state in one sentence, for a page."""
        if not self.token:
            return "Sign-in is off (--no-token). Everybody who uses this computer can open the app."
        if self.share:
            return "Sign-in is on. The app has a public link; only the token opens it."
        if self.listen != LOOPBACK:
            return "Sign-in is on. Other computers in the network reach the app; only the token opens it."
        return "Sign-in is on. Only this computer reaches the app."


def gate_state(environ: Mapping[str, str] | None = None) -> GateState:
    """The state that the environment asks for.

    Raises:
        LoraError: it asks for no token and for strangers at once.
    """
    env = os.environ if environ is None else environ
    listen = env.get("LORA_LISTEN", "").strip()
    listen = EVERYWHERE if listen.lower() in _YES else LOOPBACK if listen.lower() in _HERE else listen
    state = GateState(
        token=env.get("LORA_NO_TOKEN", "").strip().lower() not in _YES,
        listen=listen,
        share=env.get("LORA_SHARE", "").strip().lower() in _YES,
    )
    if not state.token and not state.only_here:
        raise LoraError(
            "The app was not started.",
            why="--no-token is for your own machine alone. With --listen or --share, anybody could come in.",
            fix="Leave out --no-token, or leave out --listen and --share.",
        )
    return state


def listed_origins(environ: Mapping[str, str]) -> frozenset[str]:
    """`LORA_ALLOWED_ORIGINS`: addresses such as `https://lora.example`, parted by commas.

    Raises:
        LoraError: one of them is not an address.
    """
    named = [part.strip() for part in environ.get("LORA_ALLOWED_ORIGINS", "").split(",") if part.strip()]
    for part in named:
        if not clean_origin(part):
            raise LoraError(
                "The app was not started.",
                why=f"LORA_ALLOWED_ORIGINS names {part!r}, which is no address.",
                fix="Write it as https://name.example, with its port if it has one, and nothing behind that.",
            )
    return frozenset(map(clean_origin, named))


def listening() -> tuple[tuple[str, int], ...]:
    """Address and port of every TCP socket on which this process accepts connections."""
    try:
        connections = psutil.Process().net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return ()  # some systems do not tell
    return tuple((c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN)


def app_addresses(port: int) -> tuple[str, ...]:
    """The addresses on which apps of this user accept connections at `port`; empty when none does.

    Asked before a token is sent there: another program, or another user's, must not get to know it.
    """
    return tuple(address for address, at in app_sockets() if at == port)


def app_sockets() -> tuple[tuple[str, int], ...]:
    """Address and port of every socket on which an app of this user accepts connections."""
    user, found = psutil.Process().username(), set[tuple[str, int]]()
    for process in psutil.process_iter():
        try:
            if process.username() != user or not any(Path(p).name == "Home.py" for p in process.cmdline()):
                continue
            connections = process.net_connections(kind="tcp")
        except (psutil.Error, OSError):
            continue  # it has ended, or is none that this user may look at
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return tuple(sorted(found))


def open_to_others(sockets: Collection[tuple[str, int]]) -> bool:
    """Can another computer reach one of these sockets?"""
    return any(not is_loopback(address) for address, _ in sockets)


def base_url(address: str, port: int) -> str:
    """The address at which a browser on this machine reaches a server that listens on `address`."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return f"http://{address}:{port}"  # a host name
    if found.is_unspecified:
        return f"http://{LOOPBACK}:{port}"
    return f"http://[{found}]:{port}" if found.version == 6 else f"http://{found}:{port}"


def asked_port(environ: Mapping[str, str]) -> int:
    """`LORA_PORT`, or Streamlit's own default."""
    text = environ.get("LORA_PORT", "").strip()
    return int(text) if text.isdecimal() and 0 < int(text) < 65536 else DEFAULT_PORT
