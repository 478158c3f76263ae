"""Addresses of messages are kept secret, and the test message tells what came of it."""

import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from message_server import MessageServer

from lora_core import cli, jobs
from lora_core.errors import JobError, WorkspaceError
from lora_core.jobs import addresses, awake, choices, notify, spawn
from lora_core.jobs.awake import Keeper
from lora_core.jobs.choices import AtEnd, Events
from lora_core.jobs.kinds import KINDS
from lora_core.jobs.liveness import Lock
from lora_core.workspace import Workspace

SECRET = "ntfy://user:geheim@ntfy.example/topic-of-mine"


class Memory(KeyringBackend):
    """A keyring that this test can look into."""

    priority = 5  # type: ignore[assignment]  the base class has a property of its own kind here

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.stuck: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        if self.stuck is not None:
            self.stuck.wait()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv(addresses.ENVIRONMENT, raising=False)
    return Workspace.open(tmp_path / "ws")


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """As on a server without a desktop, whatever the developer's own machine has."""
    from keyring.backends import fail

    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def memory(no_keyring: None) -> Memory:
    made = Memory()
    keyring.set_keyring(made)
    return made


@pytest.fixture
def server() -> Iterator[MessageServer]:
    made = MessageServer()
    yield made
    made.close()


def everything_in(folder: Path) -> str:
    return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


def test_with_a_keyring_no_file_holds_the_address(ws: Workspace, memory: Memory) -> None:
    made = addresses.keep(ws, SECRET, "ntfy")
    assert (made.service, made.place) == ("ntfy", "keyring")
    assert "keyring" in made.sentence
    assert list(memory.kept.values()) == [SECRET]
    written = everything_in(ws.root)
    assert "geheim" not in written
    assert "topic" not in written
    assert addresses.addresses(ws) == [made]
    assert addresses.with_secrets(ws) == [(made, SECRET)]
    addresses.remove(ws, made.fingerprint)
    assert (memory.kept, addresses.addresses(ws)) == ({}, [])


def test_without_a_keyring_it_is_in_a_file_of_its_owner_alone_and_that_is_told(ws: Workspace) -> None:
    made = addresses.keep(ws, SECRET, "ntfy")
    assert made.place == "file"
    assert "only you can read" in made.sentence
    path = ws.root / ".access" / "notify.json"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert addresses.with_secrets(ws) == [(made, SECRET)]
    assert "geheim" not in repr(addresses.addresses(ws))


def test_a_keyring_that_does_not_answer_holds_nothing_up(
    ws: Workspace, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = addresses.keep(ws, SECRET, "ntfy")
    monkeypatch.setattr(addresses, "KEYRING_WAIT_S", 0.05)
    memory.stuck = threading.Event()
    try:
        assert addresses.addresses(ws) == [made], "a page asks no keyring"
        assert addresses.with_secrets(ws) == [(made, None)]
    finally:
        memory.stuck.set()


def test_addresses_of_the_environment_are_listed_and_keep_their_fingerprint(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(addresses.ENVIRONMENT, f"{SECRET}, tgram://1:a/2,3\nmailto://a:b@x.example?to=c,d")
    found = addresses.addresses(ws)
    assert [(one.service, one.place) for one in found] == [
        ("ntfy", "environment"),
        ("Telegram", "environment"),
        ("E-Mail", "environment"),
    ]
    assert addresses.addresses(ws) == found
    assert [url for _, url in addresses.with_secrets(ws)][1] == "tgram://1:a/2,3"
    with pytest.raises(JobError, match=addresses.ENVIRONMENT):
        addresses.remove(ws, found[0].fingerprint)
    other = Workspace.open(ws.root.with_name("other"))
    assert addresses.addresses(other)[0].fingerprint != found[0].fingerprint, (
        "nothing to compare guesses with"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', '{"key": "a", "addresses": [1, {}]}'])
def test_rubbish_in_the_file_is_no_address(ws: Workspace, content: str) -> None:
    (ws.root / ".access").mkdir()
    (ws.root / ".access" / "notify.json").write_text(content, "utf-8")
    assert addresses.addresses(ws) == []
    addresses.keep(ws, SECRET, "ntfy")
    assert len(addresses.addresses(ws)) == 1


def test_there_is_a_limit_and_the_same_address_counts_once(ws: Workspace) -> None:
    for number in range(addresses.MOST):
        addresses.keep(ws, f"ntfy://topic{number}", "ntfy")
    addresses.keep(ws, "ntfy://topic0", "ntfy")
    with pytest.raises(JobError, match="already"):
        addresses.keep(ws, "ntfy://one-more", "ntfy")


def test_a_folder_that_cannot_be_written_is_told(ws: Workspace) -> None:
    (ws.root / ".access").write_text("a file")
    with pytest.raises(WorkspaceError, match="not changed"):
        addresses.keep(ws, SECRET, "ntfy")


# --- choices ----------------------------------------------------------------------------------------


def test_choices_keep_what_else_is_in_the_file(ws: Workspace) -> None:
    ws.settings_file.write_text('[pages]\nopen_project = "zog"\n', "utf-8")
    choices.set_events(ws, Events(stall=False))
    choices.set_at_end(ws, AtEnd(command=("echo", "a b"), also_after_failure=True))
    choices.keep_awake(ws, False)
    assert 'open_project = "zog"' in ws.settings_file.read_text("utf-8")
    assert choices.events(ws) == Events(stall=False)
    assert choices.at_end(ws) == AtEnd(command=("echo", "a b"), also_after_failure=True)
    assert not choices.kept_awake(ws)


# --- sending ----------------------------------------------------------------------------------------


def test_the_commands_add_test_list_and_remove_an_address_without_showing_it(
    ws: Workspace, server: MessageServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, Any]:
        code = cli.main(["notify", *arguments, "--json", "--workspace", str(ws.root)])
        printed = capsys.readouterr()
        assert "json://" not in printed.out + printed.err
        return code, json.loads(printed.out)

    assert run("test") == (1, [])
    # In the processes that the commands start there is no keyring either.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    url = server.url("here")
    monkeypatch.setattr(sys, "stdin", open_text(url))
    code, made = run("add")
    assert (code, made["service"], made["place"]) == (0, "JSON", "file")
    assert run("test") == (0, [{"service": "JSON", "fingerprint": made["fingerprint"], "problem": None}])
    assert server.got[0][0] == "/here"
    assert "test message" in server.got[0][1]["message"]
    server.refuses = True
    code, said = run("test")
    assert code == 1
    assert "refused" in said[0]["problem"]
    assert run("list")[1]["addresses"] == [made]
    assert run("remove", made["fingerprint"]) == (0, made)
    monkeypatch.setattr(sys, "stdin", open_text("nothing://geheim"))
    code, said = run("add")
    assert code == 2
    assert "geheim" not in json.dumps(said)


def open_text(text: str) -> Any:
    import io

    return io.StringIO(text + "\n")


def test_nothing_is_sent_without_an_address(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    problem = notify.test(ws)
    assert problem is not None
    assert "no address" in problem.what


def test_a_page_can_start_the_test_as_a_job_that_may_reach_the_network() -> None:
    assert KINDS["notify_test"].online
    assert not KINDS["notify_test"].device


def test_nothing_that_pages_or_the_runner_import_loads_what_sends_or_keeps_awake() -> None:
    import subprocess

    code = (
        "import sys, lora_core.jobs, lora_core.jobs.runner, lora_core.jobs.notify, lora_core.jobs.awake;"
        "print(*{'apprise', 'wakepy', 'keyring', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- awake ------------------------------------------------------------------------------------------


@pytest.fixture
def as_runner(ws: Workspace) -> Iterator[Keeper]:
    ws.runner.mkdir()
    with Lock.acquire(spawn.runner_lock(ws)):
        yield Keeper(ws)


def shows(ws: Workspace, sentence: str) -> Callable[[], bool]:
    return lambda: awake.state(ws).sentence == sentence


def until(true: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_computer_is_kept_awake_while_something_runs_unless_switched_off(
    ws: Workspace, as_runner: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")
    assert awake.state(ws) == awake.Awake(on=True, works=False, sentence=awake.IDLE)
    as_runner.keep(busy=True, wanted=True)
    until(shows(ws, awake.WORKS))
    assert awake.state(ws).works
    choices.keep_awake(ws, False)
    as_runner.keep(busy=True, wanted=False)
    assert awake.state(ws) == awake.Awake(on=False, works=False, sentence=awake.OFF)
    choices.keep_awake(ws, True)
    as_runner.keep(busy=True, wanted=True)
    until(shows(ws, awake.WORKS))
    as_runner.keep(busy=False, wanted=True)
    until(shows(ws, awake.IDLE))


def test_a_system_that_offers_no_way_is_told_and_nothing_breaks(
    ws: Workspace, as_runner: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEPY_FORCE_FAILURE", "1")
    as_runner.keep(busy=True, wanted=True)
    until(shows(ws, awake.FAILS))
    assert not awake.state(ws).works


def test_the_word_of_a_runner_that_is_gone_does_not_count(ws: Workspace) -> None:
    ws.runner.mkdir()
    (ws.runner / "awake.json").write_text('{"busy": true, "works": true}', "utf-8")
    assert awake.state(ws).sentence == awake.IDLE
    with Lock.acquire(spawn.runner_lock(ws)):
        keeper = Keeper(ws)
        keeper.keep(busy=False, wanted=True)
        until(lambda: '"busy": false' in (ws.runner / "awake.json").read_text("utf-8"))
    assert jobs.jobs(ws) == []
