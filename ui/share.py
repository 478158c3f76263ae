"""A public link to the app: `python -m ui.share PORT` runs a tunnel and prints the link.

Covered: cloudflared where it is installed, else OpenSSH to localhost.run; finding the public address in what
they print; ending them with this process and with the one that started it.

Not covered: who may come in. The gate asks everybody for the token, and a port where it does not stand is not
shared. The tunnel's service ends the HTTPS and could read what passes; `docs/access.md` says so.
"""

import contextlib
import http.client
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import IO, Final
from urllib.parse import urlsplit

from lora_core.errors import LoraError
from lora_core.workspace import Workspace
from ui import tokens
from ui.gate_settings import LOOPBACK, base_url, gate_state

APP_WAIT_S: Final = 60.0
ADDRESS_WAIT_S: Final = 60.0
"""cloudflared and localhost.run answer within 10 s; a slow network takes longer."""
END_WAIT_S: Final = 5.0
LOOK_S: Final = 0.5
"""Seconds between two looks at whether the process that started this one is still there."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A program that makes a tunnel, and how it says where the tunnel begins."""

    name: str
    command: tuple[str, ...]
    address: "re.Pattern[str]"
    """Finds the public host name in a line of its output, as group 1."""


# cloudflared also prints addresses of its documents, and names its own interface when it fails.
CLOUDFLARED_SAYS: Final = re.compile(r"https://(?!api\.)([a-z0-9-]+\.trycloudflare\.com)\b")
# localhost.run greets with addresses of its own; only this line names the tunnel's.
LOCALHOST_RUN_SAYS: Final = re.compile(r"([A-Za-z0-9-]+\.[A-Za-z0-9.-]+) tunneled with tls termination")


def choose(port: int, find: Callable[[str], str | None] = shutil.which, *, listens: str = LOOPBACK) -> Tunnel:
    """The tunnel that this machine can make to a server that listens on the address `listens`.

    Raises:
        LoraError: it has no program for one.
    """
    # An address and not a name: `localhost` may mean ::1, where the app does not listen.
    target = base_url(listens, port)
    if cloudflared := find("cloudflared"):
        return Tunnel(
            "cloudflared", (cloudflared, "tunnel", "--no-autoupdate", "--url", target), CLOUDFLARED_SAYS
        )
    if ssh := find("ssh"):
        options = (
            # The host's key is kept at the first visit; if it changes later, ssh refuses to connect.
            "StrictHostKeyChecking=accept-new",
            "BatchMode=yes",  # never a question: nobody may be there to answer
            "ExitOnForwardFailure=yes",
            "ServerAliveInterval=30",
        )
        flags = tuple(part for option in options for part in ("-o", option))
        where = ("-R", f"80:{urlsplit(target).netloc}", "nokey@localhost.run")
        return Tunnel("ssh to localhost.run", (ssh, "-T", *flags, *where), LOCALHOST_RUN_SAYS)
    raise LoraError(
        "No public link was made.",
        why="Neither cloudflared nor ssh is installed.",
        fix="Install one of them. cloudflared: https://github.com/cloudflare/cloudflared/releases. "
        "ssh: the package openssh-client on Linux, the optional feature OpenSSH Client on Windows.",
    )


def check_gate(port: int, wait_s: float = APP_WAIT_S, *, listens: str = LOOPBACK) -> None:
    """Wait for the app, and see that it asks for the token.

    Raises:
        LoraError: nothing answers there, or something that lets everybody in.
    """
    until_s = time.monotonic() + wait_s
    while True:
        try:
            connection = http.client.HTTPConnection(urlsplit(base_url(listens, port)).netloc, timeout=5)
            connection.request("GET", "/_stcore/health")
            status = connection.getresponse().status
            connection.close()
            break
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > until_s:
                raise LoraError(
                    "No public link was made.",
                    why=f"Nothing answers on port {port} of this computer.",
                    fix="Start the app first: python3 start.py --share does both.",
                ) from error
            time.sleep(0.2)
    if status != http.HTTPStatus.UNAUTHORIZED:
        raise LoraError(
            "No public link was made.",
            why=f"What answers on port {port} asks for no token. Through a tunnel, anybody could use it.",
            fix="Start the app without --no-token, and give the port that it runs on.",
        )


@contextlib.contextmanager
def opened(tunnel: Tunnel) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str | None]"]]:
    """Run the tunnel's program; it is ended with the block. The queue has its lines, and None at the end."""
    process = subprocess.Popen(
        tunnel.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None  # noqa: S101 - for the type checker; it was asked for above
    reader = threading.Thread(target=_drain, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        _end(process)
        reader.join(END_WAIT_S)


def _drain(output: IO[str], lines: "queue.Queue[str | None]") -> None:
    # Read on to the end, also when nobody listens: a full pipe would stop the tunnel.
    with output:
        for line in output:
            if lines.qsize() < 1000:
                lines.put(line.rstrip())
    lines.put(None)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def public_address(tunnel: Tunnel, lines: "queue.Queue[str | None]", wait_s: float = ADDRESS_WAIT_S) -> str:
    """The address that the tunnel's program names.

    Raises:
        LoraError: it ended, or named none in time; with its last words.
    """
    last: deque[str] = deque(maxlen=3)
    until_s = time.monotonic() + wait_s
    while (left_s := until_s - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left_s)
        except queue.Empty:
            break
        if line is None:
            raise _no_tunnel(tunnel, "It ended.", last)
        if found := tunnel.address.search(line):
            return f"https://{found[1]}"
        if line.strip():
            last.append(line.strip())
    raise _no_tunnel(tunnel, f"It named no address within {wait_s:.0f} s.", last)


def _no_tunnel(tunnel: Tunnel, why: str, last: Sequence[str]) -> LoraError:
    said = f" Its last words: {' / '.join(last)}" if last else ""
    return LoraError(
        f"The tunnel by {tunnel.name} was not opened.",
        why=why + said,
        fix="Check the network of this computer. docs/access.md shows other ways to reach the app.",
    )


def share(port: int) -> int:
    """Open the tunnel, print the link, stay until the tunnel or the starter ends; gives the exit code."""
    access = tokens.load(Workspace.open(), os.environ)
    listens = gate_state().listen
    check_gate(port, listens=listens)
    tunnel = choose(port, listens=listens)
    starter = os.getppid()
    with opened(tunnel) as (process, lines):
        address = public_address(tunnel, lines)
        # To the terminal of the person who asked for it; the token stands in no argument and in no file.
        _say(f"\n  The public link: {access.link(address)}")
        _say(f"  It works while this runs, through {tunnel.name}. Whoever has it can use the app.\n")
        while process.poll() is None:
            if os.name == "posix" and os.getppid() != starter:
                return 0  # the app's starter is gone, so nobody could close the tunnel
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
        _say(f"  The public link has ended: {tunnel.name} stopped with exit code {process.returncode}.")
        return 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """`python -m ui.share PORT`."""
    if len(arguments) != 1 or not arguments[0].isdecimal() or not 0 < int(arguments[0]) < 65536:
        sys.stderr.write("Usage: python -m ui.share PORT\n")
        return 2

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # the tunnel must be ended on the way out

    signal.signal(signal.SIGTERM, interrupt)
    try:
        return share(int(arguments[0]))
    except KeyboardInterrupt:
        return 0
    except LoraError as error:
        sys.stderr.write(f"{error.what}\n  Why: {error.why}\n  What to do: {error.fix}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
