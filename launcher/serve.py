"""Start the app's server, give its link, and end it calmly.

Covered: a port that is taken (by the app itself or by another program), waiting until the server answers,
opening the browser where there is a screen, the tunnel beside it, and Ctrl-C.

Not covered: who may come in. The gate inside the server decides that, and makes the link.
"""

import contextlib
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

from launcher.environment import Environment
from launcher.options import EVERY_ADDRESS, LOOPBACK, Options
from launcher.words import ROOT, SetupError, say

START_TIMEOUT_S: Final = 180.0
"""Long, because the first start reads hundreds of packages from a disk that may be slow."""
END_TIMEOUT_S: Final = 10.0
_BROWSER_WAIT_S: Final = 2.0
HERE: Final = frozenset({LOOPBACK, "::1", "localhost"})


def reach(address: str) -> str:
    """The address at which this machine itself reaches a server that listens on `address`."""
    return {EVERY_ADDRESS: LOOPBACK, "::": "::1"}.get(address, address)


def port_free(address: str, port: int) -> bool:
    """Can a server listen there now? Raises SetupError where the system refuses for another reason."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":
            # As the server does it: a port that the last run left a moment ago counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1)):
                return False
            raise SetupError(
                "The app was not started.",
                why=f"The system does not let it listen on {address}, port {port}: {error.strerror}.",
                fix="Use a port above 1023, such as --port 8502, and an address of this computer.",
            ) from error
    return True


def signs_in(link: str) -> bool:
    """Does this app, with this workspace, answer at the link? It then sends a cookie and the way on."""
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.hostname or LOOPBACK, parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.SEE_OTHER and answer.getheader("Set-Cookie") is not None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def taken(port: int) -> SetupError:
    return SetupError(
        "The app was not started.",
        why=f"Port {port} is in use already, by another program or by this app with another workspace.",
        fix=f"Use another port: python3 start.py --port {port + 1 if port < 65535 else 8501}",
    )


def sign_in_link(env: Environment, options: Options, *, once: bool = False) -> str:
    """The link that signs a browser in, as the gate makes it. Raises SetupError when it cannot.

    With `once` it is good for one use, soon: what opens a browser can be seen by other users.
    """
    answer = subprocess.run(
        [env.python, "-m", "ui.gate", "link-once" if once else "link"],
        cwd=ROOT,
        env=options.environ(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = answer.stdout.strip().splitlines()
    if answer.returncode != 0 or not lines:
        said = answer.stderr.strip().splitlines() or ["it said nothing"]
        told = dict(line.strip().partition(": ")[::2] for line in said)
        raise SetupError(
            "The sign-in link could not be made.",
            # The gate's own words: what, then why, then what to do. A crash has a last line alone.
            why=f"{said[0]} {told['Why']}" if "Why" in told else f"The gate says: {said[-1]}",
            fix=told.get("What to do")
            or "Check that the workspace folder can be written, or name another with --workspace PATH.",
        )
    for line in answer.stderr.splitlines():
        print(line.strip(), file=sys.stderr, flush=True)
    return lines[-1]


def can_open_browser(environ: Mapping[str, str], system: str) -> bool:
    """Is there a screen of this user here? A browser opened on a server far away helps nobody."""
    if "SSH_CONNECTION" in environ or "SSH_TTY" in environ:
        return False
    if system == "linux":
        # WSL has no display of its own and opens the browser of Windows.
        return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))
    return True


def running_at(env: Environment, options: Options) -> list[str]:
    """The addresses on which an app of this user listens at the port; empty when it is another program."""
    answer = subprocess.run(
        [env.python, "-m", "ui.gate", "running"],
        cwd=ROOT,
        env=options.environ(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.split() if answer.returncode == 0 else []


def _join(env: Environment, options: Options) -> int:
    """Give the link of the app that runs already. Raises SetupError when it is not this one."""
    # Who listens there is asked of the system first: the link would give the token to any program.
    addresses = running_at(env, options)
    link = sign_in_link(env, options)
    if not addresses or not signs_in(link):
        raise taken(options.port)
    if options.address not in HERE and HERE.issuperset(addresses):
        raise SetupError(
            "The app is running already, and was not opened to other computers.",
            why=f"It was started to listen on {', '.join(addresses)}.",
            fix="Close it with Ctrl-C where it was started. Then start it again with --listen.",
        )
    say("The app is running already.")
    _give_link(env, link, options)
    if options.share:
        with _terminate_as_interrupt(), contextlib.suppress(KeyboardInterrupt):
            tunnel = _open_tunnel(env, options)
            try:
                return tunnel.wait()
            finally:
                end(tunnel)
    return 0


def _open_tunnel(env: Environment, options: Options) -> "subprocess.Popen[bytes]":
    share = [str(env.python), "-m", "ui.share", str(options.port)]
    return subprocess.Popen(share, cwd=ROOT, env=options.environ(os.environ))


def serve(env: Environment, options: Options) -> int:
    """Run the app until it ends or is told to; returns the exit code. Raises SetupError with the cause."""
    if not port_free(options.address, options.port):
        return _join(env, options)
    # LORA_LINK_SHOWN: the gate prints the link by itself only where nobody else does.
    environ = options.environ(os.environ) | {"LORA_LINK_SHOWN": "1"}
    server = subprocess.Popen(server_command(env.python, options), cwd=ROOT, env=environ)
    companions: list[subprocess.Popen[bytes]] = []
    with _terminate_as_interrupt():
        try:
            _wait_until_up(server, options)
            _give_link(env, sign_in_link(env, options), options)
            if options.share:
                companions.append(_open_tunnel(env, options))
            return _end_of(server.wait())
        except KeyboardInterrupt:
            say("\nClosing the app. A training that runs goes on; start the app again to see it.")
            return 0
        finally:
            for process in (*companions, server):
                end(process)


def server_command(python: Path, options: Options) -> list[str]:
    """The command of the server. Streamlit's own welcome is left out: its address carries no token."""
    return [
        str(python),
        "-m",
        "streamlit",
        "run",
        str(ROOT / "Home.py"),
        "--server.address",
        options.address,
        "--server.port",
        str(options.port),
        "--logger.hideWelcomeMessage",
        "true",
    ]


def _wait_until_up(server: subprocess.Popen[bytes], options: Options) -> None:
    ends_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < ends_s:
        if server.poll() is not None:
            raise SetupError(
                "The app ended while it was starting.",
                why=f"Its exit code is {server.returncode}; the lines above say more.",
                fix="Run: python3 start.py --setup-only - and start again.",
            )
        with contextlib.suppress(OSError):
            socket.create_connection((reach(options.address), options.port), timeout=1).close()
            return
        time.sleep(0.05)
    raise SetupError(
        "The app did not answer in time.",
        why=f"After {START_TIMEOUT_S:.0f} s the server takes no connection on port {options.port}.",
        fix="Start it again; a second start is faster. If it stays so, try another port: --port 8502",
    )


def _give_link(env: Environment, link: str, options: Options) -> None:
    say()
    say(f"The app is open at: {link}")
    if options.address != LOOPBACK:
        say("  Other computers in your network reach it too; put this computer's address into the link.")
    if "SSH_CONNECTION" in os.environ:
        say("  You are connected by SSH. On your own computer, run this first and leave it open:")
        say(f"    ssh -N -L {options.port}:127.0.0.1:{options.port} YOUR_USER@THIS_COMPUTER")
    say("  Keep the link to yourself: whoever has it can use the app. Ctrl-C here closes the app.")
    say()
    if options.browser and can_open_browser(os.environ, sys.platform):
        # In a thread: some browsers return only when their window is closed.
        opening = threading.Thread(
            target=webbrowser.open, args=(sign_in_link(env, options, once=True),), daemon=True
        )
        opening.start()
        opening.join(_BROWSER_WAIT_S)  # where the app runs already, this program ends now


def _end_of(code: int) -> int:
    if code in (0, -signal.SIGINT, -signal.SIGTERM):
        say("The app has ended. A training that runs goes on; start the app again to see it.")
        return 0
    raise SetupError(
        "The app ended by itself.",
        why=f"Its exit code is {code}; the lines above say more. A training that runs goes on.",
        fix="Start it again: python3 start.py",
    )


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Treat a request to end, such as closing the terminal or a service manager's stop, as Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours: ask, wait, and only then force."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
