"""Where a request comes from: its peer, the proxies in between, and the page that made it.

Covered: loopback or not, signs of a proxy, the address that tries are counted under, and whether a page of
this app made the request, also when a tunnel rewrites `Host`.

Not covered: the cookie (`ui/tokens.py`) and what a request gets (`ui/gate.py`). Headers are claims. Only
those that the page in a browser cannot set (`Origin`, `Sec-Fetch-*`, `X-Forwarded-Host`) count here, and only
to keep foreign pages out of a browser that is signed in; nothing here lets in anybody without the cookie.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
PROXY_HEADERS: Final = frozenset(
    {
        "forwarded",
        "via",
        "cdn-loop",
        "client-ip",
        "true-client-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-real-ip",
        "x-remote-ip",
        "x-remote-addr",
        "x-originating-ip",
        "x-original-host",
        "x-original-forwarded-for",
        "x-host",
        "x-proxyuser-ip",
        "x-forwarded",
        "x-appengine-user-ip",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-amzn-trace-id",
        "x-envoy-external-address",
    }
)
"""Headers that proxies and tunnels add, besides all that begin with one of `PROXY_PREFIXES`."""
PROXY_PREFIXES: Final = (
    "x-forwarded-",
    "cf-",
    "tailscale-",
    "ngrok-",
    "x-ngrok-",
    "x-tunnel-",
    "x-ms-forwarded-",
)

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request says about where it comes from; every text is as it was sent, lower case."""

    websocket: bool
    method: str
    peer: str
    """Address of the other end, as the server gives it; empty when it gives none."""
    secure: bool
    """The browser came by HTTPS, to this server or to the proxy before it."""
    host: str
    origin: str
    """The `Origin` header; empty when there was none."""
    referer: str
    site: str
    mode: str
    dest: str
    """The three `Sec-Fetch-` headers; sent to HTTPS and loopback; by Chromium not with websockets."""
    forwarded_hosts: tuple[str, ...]
    forwarded_for: str
    """The last address in `X-Forwarded-For`: the one that the nearest proxy saw."""
    proxied: bool
    """Some header says that a proxy or a tunnel passed the request on."""

    @classmethod
    def of(cls, scope: Any) -> "Asked":
        headers = Headers(scope=scope)
        client = scope.get("client")
        websocket = scope["type"] == "websocket"
        protocols = {
            part.strip().lower() for text in headers.getlist("x-forwarded-proto") for part in text.split(",")
        }
        return cls(
            websocket=websocket,
            method="GET" if websocket else str(scope.get("method", "")).upper(),
            peer=str(client[0]) if client else "",
            secure=scope.get("scheme") in {"https", "wss"} or bool(protocols & {"https", "wss"}),
            host=headers.get("host", "").strip().lower(),
            origin=headers.get("origin", "").strip().lower(),
            referer=headers.get("referer", ""),
            site=headers.get("sec-fetch-site", "").lower(),
            mode=headers.get("sec-fetch-mode", "").lower(),
            dest=headers.get("sec-fetch-dest", "").lower(),
            forwarded_hosts=_split(headers.getlist("x-forwarded-host")),
            forwarded_for=(_split(headers.getlist("x-forwarded-for")) or ("",))[-1],
            proxied=any(name in PROXY_HEADERS or name.startswith(PROXY_PREFIXES) for name in headers),
        )

    @property
    def reads(self) -> bool:
        """A request that changes nothing by its kind."""
        return not self.websocket and self.method in {"GET", "HEAD"}

    @property
    def navigates(self) -> bool:
        """A person goes to the page, by a link or the address bar: no other page sees the answer."""
        return self.reads and self.mode == "navigate" and self.dest == "document"


def _split(texts: Collection[str]) -> tuple[str, ...]:
    return tuple(part.strip().lower() for text in texts for part in text.split(",") if part.strip())


# --- addresses ---------------------------------------------------------------------------------


def is_loopback(address: str) -> bool:
    """Is this numeric address the machine itself?"""
    found = _numeric(address)
    return found is not None and found.is_loopback


def _numeric(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def counted_under(asked: Asked) -> tuple[str, str]:
    """Group and address under which wrong tries are counted.

    A tunnel ends on this machine, so behind one the address that it passes on is used. It may be made up.
    Then every try counts under another address, but all of them in one group, whose limit holds; and whoever
    sits at this machine is in a group of their own that nobody outside can use up.
    """
    if not asked.proxied and is_loopback(asked.peer):
        return "here", "loopback"
    address = asked.forwarded_for if is_loopback(asked.peer) and asked.forwarded_for else asked.peer
    found = _numeric(_name_of(address))
    if found is None:
        return "outside", "unknown"  # one bucket for all that is no address, or anything could be a new one
    if found.version == 6:
        # One customer has a whole /64 and can use a new address for every try.
        found = ipaddress.ip_network((found, 64), strict=False).network_address
    return "outside", str(found)


def _name_of(address: str) -> str:
    """An address without a port, if it had one: `1.2.3.4:5` or `[::1]:5`."""
    match = _HOST.fullmatch(address)
    return match["name"] if match else address


# --- hosts and origins -------------------------------------------------------------------------


def host_and_port(host: str) -> tuple[str, int | None] | None:
    """A `Host` header in its parts; None when it is not one."""
    match = _HOST.fullmatch(host)
    if match is None or (match["port"] and int(match["port"]) > 65535):
        return None
    return match["name"].strip("[]").lower(), int(match["port"]) if match["port"] else None


def clean_origin(text: str) -> str:
    """`scheme://host[:port]` of a web address, without a port that is the default; else empty."""
    try:
        parts = urlsplit(text.strip().lower())
    except ValueError:
        return ""
    host = host_and_port(parts.netloc)
    if parts.scheme not in _DEFAULT_PORTS or host is None:
        return ""
    name, port = host
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" + (
        f":{port}" if port not in {None, _DEFAULT_PORTS[parts.scheme]} else ""
    )


def is_at(origin: str, host: str) -> bool:
    """Is `origin` a page of the server that the request calls `host`?"""
    clean, wanted = clean_origin(origin), host_and_port(host)
    if not clean or wanted is None:
        return False
    scheme, _, netloc = clean.partition("://")
    name, port = host_and_port(netloc) or ("", None)
    default = _DEFAULT_PORTS[scheme]
    return (name, port or default) == (wanted[0], wanted[1] or default)


def is_own(asked: Asked, known: Collection[str] = (), listed: Collection[str] = ()) -> bool:
    """Did a page of this app make the request, or no page at all?

    The cookie alone cannot tell. `SameSite` keeps other sites out, but all ports of one machine, and often
    all names under one domain, count as one site. `known` are addresses at which browsers have reached this
    app, `listed` those that the user names in `LORA_ALLOWED_ORIGINS`.
    """
    if asked.navigates:
        return True
    origin = clean_origin(asked.origin)
    if origin and origin in listed:
        return True
    if asked.site == "same-origin" or (asked.site == "none" and asked.reads):
        return True  # the browser compared the addresses as it sees them, which no proxy changes
    if asked.site in {"same-site", "cross-site"}:
        return False
    if not asked.origin:
        return (
            True  # not a browser: every one of them sends it with websockets and with what changes something
        )
    return origin in known or any(is_at(origin, host) for host in (asked.host, *asked.forwarded_hosts))


def own_address(asked: Asked) -> str:
    """The address at which the browser sees this app, if this request proves it; else empty.

    Needed where a tunnel rewrites `Host`: a websocket says its `Origin` and nothing to compare it with. The
    requests that the page makes before it do: the browser marks them as same-origin, and their `Referer`
    names that origin. Only `fetch` counts (an empty destination): what a style sheet loads carries the
    address of the style sheet.
    """
    if asked.site != "same-origin" or asked.dest != "empty" or asked.websocket:
        return ""
    found = clean_origin(asked.origin or asked.referer)
    return "" if is_at(found, asked.host) else found


def why_not_here(asked: Asked) -> str:
    """Why `--no-token` does not admit this request, in one sentence; empty when it does."""
    if (
        asked.proxied
    ):  # first, because the server puts the address that a proxy names in the place of the peer
        return "The request came through a proxy or a tunnel."
    if not is_loopback(asked.peer):
        return "The request came from another computer."
    host = host_and_port(asked.host)
    if host is None or host[0] not in LOOPBACK_HOSTS:
        return "The address in the browser is not this computer's own (localhost or 127.0.0.1)."
    if not is_own(asked):
        return "The request came from a page of another address."
    return ""
