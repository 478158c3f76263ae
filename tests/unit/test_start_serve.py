"""Starting the app: its options, a port that is taken, its link, and its end.

The app is really started, by start.py in a process of its own, in the environment that runs the tests.
"""

import contextlib
import http.client
import http.server
import os
import platform
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from launcher import options as read_options
from launcher import setup
from launcher.environment import Environment, Recipe
from launcher.graphics import choose, find_gpus
from launcher.options import CheckOptions, Options
from launcher.serve import can_open_browser, port_free, reach, server_command, taken
from launcher.words import ROOT, SetupError, duration

# --- options --------------------------------------------------------------------------------


def read(*arguments: str) -> Options:
    found = read_options.read(arguments)
    assert isinstance(found, Options)
    return found


@pytest.mark.parametrize("others", [["--listen"], ["--listen", "192.168.0.7"], ["--share"]])
def test_an_app_without_a_token_is_never_opened_to_others(others: list[str]) -> None:
    with pytest.raises(SetupError, match="anybody could come in"):
        read("--no-token", *others)
    assert not read("--no-token").token


def test_the_refusal_is_what_the_user_sees_and_ends_with_1() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "start.py", "--no-token", "--listen"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Why: --no-token is for your own machine alone." in done.stderr
    assert "What to do: Leave out --no-token" in done.stderr


def test_the_app_listens_on_this_machine_alone_unless_asked(tmp_path: Path) -> None:
    assert read().address == "127.0.0.1"
    assert read("--listen").address == "0.0.0.0"  # noqa: S104 - what is tested
    assert read("--listen", "10.0.0.4").address == "10.0.0.4"
    assert "LORA_LISTEN" not in read().environ({})
    assert "--server.address 127.0.0.1" in " ".join(server_command(tmp_path, read()))


def test_what_a_shell_kept_from_an_earlier_start_does_not_open_the_app() -> None:
    before = {"LORA_LISTEN": "0.0.0.0", "LORA_NO_TOKEN": "1", "LORA_SHARE": "1", "PYTHONPATH": "/else"}  # noqa: S104 - what is tested
    assert read().environ(before) == {"LORA_PORT": "8501"}


def test_every_option_reaches_the_app(tmp_path: Path) -> None:
    asked = read("--port", "9000", "--listen", "--share", "--workspace", str(tmp_path))
    assert asked.environ({}) == {
        "LORA_PORT": "9000",
        "LORA_LISTEN": "0.0.0.0",  # noqa: S104 - what is tested
        "LORA_SHARE": "1",
        "LORA_WORKSPACE": str(tmp_path),
    }
    assert read("--no-token").environ({})["LORA_NO_TOKEN"] == "1"


def test_relative_folders_are_meant_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = read("--env", "e", "--workspace", "w")
    assert (asked.env, asked.workspace) == (tmp_path / "e", tmp_path / "w")
    assert read("--env", "~nobody-of-this-name/e").env == tmp_path / "~nobody-of-this-name" / "e"


@pytest.mark.parametrize("port", ["0", "65536", "web"])
def test_a_port_that_does_not_exist_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--port", port)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "--port" in told
    assert f"a port is a number from 1 to 65535, and this is '{port}'" in told


@pytest.mark.parametrize("port", ["0", "99999", "web"])
def test_a_port_of_the_environment_that_does_not_exist_is_refused_as_well(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LORA_PORT", port)
    with pytest.raises(SystemExit):
        read()
    assert "a port is a number" in capsys.readouterr().err
    assert read("--port", "9000").port == 9000


def test_options_of_pytest_are_passed_on() -> None:
    asked = read_options.read(["test", "--full", "-k", "caption", "-x"])
    assert isinstance(asked, CheckOptions)
    assert asked.full
    assert asked.pytest == ("-k", "caption", "-x")


# --- ports and addresses --------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_in_use_is_seen_and_another_is_offered() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not port_free("127.0.0.1", port)
    assert port_free("127.0.0.1", port)
    assert f"--port {port + 1}" in taken(port).fix
    assert "--port 8501" in taken(65535).fix


def test_an_address_of_another_computer_is_refused_with_the_systems_reason() -> None:
    with pytest.raises(SetupError, match="does not let it listen on 192"):
        port_free("192.0.2.1", 8501)


def test_a_server_open_to_all_is_reached_from_here_on_loopback() -> None:
    assert [reach(address) for address in ("0.0.0.0", "::", "10.0.0.4")] == ["127.0.0.1", "::1", "10.0.0.4"]  # noqa: S104 - what is tested


@pytest.mark.parametrize(
    ("environ", "system", "opens"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"WSL_DISTRO_NAME": "Ubuntu"}, "linux", True),
        ({}, "linux", False),
        ({}, "win32", True),
        ({}, "darwin", True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_only_where_the_user_sits(
    environ: dict[str, str], system: str, opens: bool
) -> None:
    assert can_open_browser(environ, system) is opens


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.4, "12 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")],
)
def test_times_are_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- the real app ---------------------------------------------------------------------------


class Start:
    """start.py, running; its lines are read as they come."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        self.folder = folder
        self.process = subprocess.Popen(
            self.command(*more),
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def command(self, *more: str, workspace: str = "workspace") -> list[str]:
        fixed = ["--env", str(self.folder / "env"), "--port", str(self.port), "--no-browser"]
        return [
            sys.executable,
            str(ROOT / "start.py"),
            *fixed,
            "--workspace",
            str(self.folder / workspace),
            *more,
        ]

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.put(line)
        self.lines.put(None)

    def read_until(self, text: str) -> str:
        """The first line with the text. Fails when the program ends, or says nothing for two minutes."""
        seen = ""
        while (line := self.lines.get(timeout=120)) is not None:
            seen += line
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}:\n{seen}")

    def run(self, *more: str, workspace: str = "workspace") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*more, workspace=workspace), capture_output=True, text=True, check=False
        )

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        self.reader.join(60)


def stand_in_environment(folder: Path) -> None:
    """An environment that counts as complete and is the one that runs the tests."""
    env = Environment(folder / "env")
    build = choose(
        platform.system(), find_gpus(platform.system(), platform.machine()), dict(os.environ)
    ).build
    env.mark("ready", [Recipe(files=(setup.REQUIREMENTS, setup.CONSTRAINTS), build=build)])
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (Path(sys.prefix) / name).exists():
            (env.folder / name).symlink_to(Path(sys.prefix) / name)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Start, str]]:
    folder = tmp_path_factory.mktemp("start")
    stand_in_environment(folder)
    start = Start(folder)
    try:
        yield start, start.read_until("The app is open at:").split()[-1]
    finally:
        start.end()


def ask(link: str) -> http.client.HTTPResponse:
    parts = urlsplit(link)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
        answer = connection.getresponse()
        answer.read()
        return answer


pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and links of a POSIX system")


def test_the_printed_link_signs_in_and_the_bare_address_does_not(started: tuple[Start, str]) -> None:
    start, link = started
    assert link.startswith(f"http://127.0.0.1:{start.port}/?token=")
    assert ask(link).status == 303
    assert ask(link).getheader("Set-Cookie")
    assert ask(link.partition("?")[0]).status == 401


def test_a_second_start_gives_the_link_of_the_running_app(started: tuple[Start, str]) -> None:
    start, link = started
    again = start.run()
    assert again.returncode == 0
    assert "The app is running already." in again.stdout
    assert link in again.stdout


def test_a_second_start_does_not_claim_to_open_the_running_app_to_others(started: tuple[Start, str]) -> None:
    start, _ = started
    again = start.run("--listen")
    assert again.returncode == 1
    assert "was not opened to other computers" in again.stderr
    assert "start it again with --listen" in again.stderr


def test_a_second_start_with_share_opens_the_tunnel(started: tuple[Start, str], tmp_path: Path) -> None:
    start, _ = started
    cloudflared = tmp_path / "cloudflared"
    cloudflared.write_text("#!/bin/sh\necho https://made-up-name.trycloudflare.com\n", "utf-8")
    cloudflared.chmod(0o755)
    again = subprocess.run(
        start.command("--share"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert "The public link: https://made-up-name.trycloudflare.com/?token=" in again.stdout


def test_the_token_is_not_sent_to_another_program_that_has_the_port(tmp_path: Path) -> None:
    heard: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(303)  # as the app would
            self.send_header("Set-Cookie", "a=b")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at what was heard."""

    stand_in_environment(tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = other.server_address[1]
        place = ["--env", str(tmp_path / "env"), "--workspace", str(tmp_path / "ws"), "--port", str(port)]
        done = subprocess.run(
            [sys.executable, str(ROOT / "start.py"), *place, "--no-browser"],
            capture_output=True,
            text=True,
            check=False,
        )
        other.shutdown()
    assert done.returncode == 1
    assert f"Port {port} is in use already" in done.stderr
    assert heard == []


def test_link_shows_the_same_link_alone(started: tuple[Start, str]) -> None:
    start, link = started
    assert start.run("--link").stdout == f"{link}\n"


def test_link_finds_the_running_app_at_another_port(started: tuple[Start, str]) -> None:
    start, link = started
    assert start.run("--link", "--port", str(free_port())).stdout == f"{link}\n"


def test_the_browser_is_opened_without_the_token_in_its_command_line(
    started: tuple[Start, str], tmp_path: Path
) -> None:
    start, link = started
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}\n', "utf-8")
    browser.chmod(0o755)
    subprocess.run(
        [part for part in start.command() if part != "--no-browser"],
        capture_output=True,
        check=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("SSH_")}
        | {"BROWSER": str(browser), "DISPLAY": ":0"},
    )
    opened = seen.read_text("utf-8").strip()
    assert link.partition("token=")[2] not in opened
    first, second = ask(opened), ask(opened)
    assert (first.status, second.status) == (303, 401)
    assert first.getheader("Set-Cookie")


def test_a_port_taken_by_the_app_with_another_workspace_is_an_error_with_a_way_out(
    started: tuple[Start, str],
) -> None:
    start, _ = started
    other = start.run(workspace="other")
    assert other.returncode == 1
    assert f"Port {start.port} is in use already" in other.stderr
    assert f"--port {start.port + 1}" in other.stderr


def test_ctrl_c_closes_the_app_calmly(started: tuple[Start, str]) -> None:
    # The last test with this app: it ends it.
    start, _ = started
    (server,) = psutil.Process(start.process.pid).children()
    start.process.send_signal(signal.SIGINT)
    assert "A training that runs goes on" in start.read_until("Closing the app.")
    assert start.process.wait(60) == 0
    assert port_free("127.0.0.1", start.port)
    assert not server.is_running()


def test_an_app_that_is_killed_is_reported_with_what_to_do(tmp_path: Path) -> None:
    stand_in_environment(tmp_path)
    start = Start(tmp_path)
    try:
        start.read_until("The app is open at:")
        (server,) = [
            child
            for child in psutil.Process(start.process.pid).children()
            if "streamlit" in " ".join(child.cmdline())
        ]
        server.kill()
        start.read_until("The app ended by itself.")
        assert "-9" in start.read_until("Why:")
        assert start.process.wait(60) == 1
    finally:
        start.end()


def test_a_workspace_that_cannot_be_used_is_told_with_the_reason(tmp_path: Path) -> None:
    stand_in_environment(tmp_path)
    (tmp_path / "file").touch()
    place = ["--env", str(tmp_path / "env"), "--workspace", str(tmp_path / "file")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "start.py"), "--link", *place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Why: The workspace folder" in done.stderr
    assert "Not a directory" in done.stderr
    assert "What to do: Choose another folder with --workspace" in done.stderr


def test_a_link_before_any_setup_says_to_set_up_first(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "start.py", "--link", "--env", tmp_path / "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "There is no link yet." in done.stderr
    assert "What to do: Run: python3 start.py" in done.stderr
