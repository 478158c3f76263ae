"""What follows the end of a training: verified, told and the command run, each of it once."""

import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from message_server import MessageServer
from safetensors.numpy import save_file

from lora_core import jobs
from lora_core.jobs import addresses, after, choices, command, liveness, publish, remarks, spawn, watchers
from lora_core.jobs.choices import AtEnd, Events
from lora_core.jobs.records import End, Status, read_status, write_status
from lora_core.workspace import Workspace, read_json, write_json

WAIT_S = 120.0

# Apprise loads all of its services at once, and some use what Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def server() -> Iterator[MessageServer]:
    made = MessageServer()
    yield made
    made.close()


@pytest.fixture
def ws(tmp_path: Path, server: MessageServer, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(addresses.ENVIRONMENT, server.url("a"))
    monkeypatch.setattr(watchers, "_seen", {})
    return Workspace.open(tmp_path / "ws")


def over(ws: Workspace, state: str = "finished", **end: Any) -> jobs.Job:
    """A training that is over; a finished one with its published LoRA."""
    job = jobs.create(ws, "train", "zog", start=False)
    result = None
    if state == "finished":
        lora = job.folder / "checkpoints" / "zog.safetensors"
        lora.parent.mkdir()
        key = "lora_unet_mid_block_attentions_0_proj_in"
        save_file(
            {
                f"{key}.lora_down.weight": np.ones((2, 4), np.float32),
                f"{key}.lora_up.weight": np.ones((4, 2), np.float32),
                f"{key}.alpha": np.array(2.0, np.float32),
            },
            lora,
        )
        result = ws.relative(publish.publish(ws, job, lora))
    ended = End(**{"cause": "It ended.", "exit_code": 0, "at": time.time(), "result": result, **end})
    write_status(job.folder, Status(state=state, step=40, total=80, end=ended))  # type: ignore[arg-type]  # text for brevity
    return job


def follow(job: jobs.Job, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*watchers.AFTER_COMMAND, str(job.folder), *more])


def followed(job: jobs.Job) -> dict[str, Any]:
    """Let the process do its work to the end; what it wrote down."""
    assert follow(job).wait(WAIT_S) == 0
    return read_json(job.folder / "after.json")


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def marking(path: Path, then: str = "") -> tuple[str, ...]:
    """A command that leaves a mark each time it runs."""
    code = f"import os, sys, time; open({str(path)!r}, 'a').write('x'); {then or 'pass'}"
    return (sys.executable, "-c", code)


def test_the_end_is_told_and_the_command_run_once_however_often_it_is_looked_at(
    ws: Workspace, server: MessageServer, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    then = "print(os.environ['LORA_STATE'], 'LORA_NOTIFY_URLS' in os.environ); sys.exit(7)"
    choices.set_at_end(ws, AtEnd(command=marking(mark, then)))
    job = over(ws)
    record = followed(job)
    assert followed(job) == record
    assert [body["message"] for _, body in server.got] == [
        "zog is finished at step 40 of 80. The LoRA file is there and sound."
    ]
    assert not server.got[0][1]["attachments"]
    steps = record["steps"]
    assert (steps["verify"]["state"], steps["command"]["exit_code"]) == ("verified", 7)
    assert mark.read_text() == "x"
    assert (job.folder / "after.log").read_text().split() == ["finished", "False"]
    assert server.url("a") not in (job.folder / "after.json").read_text()


def test_killed_while_it_sends_it_goes_on_with_the_next_and_sends_nothing_twice(
    ws: Workspace, server: MessageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(addresses.ENVIRONMENT, f"{server.url('a')} {server.url('b')}")
    server.holds_up = lambda path: path == "/a"
    job = over(ws)
    process = follow(job)
    until(lambda: bool(server.got), "the first message arrives")
    process.kill()
    process.wait()
    assert followed(job)["done"]
    assert [path for path, _ in server.got] == ["/a", "/b"]


def test_what_a_command_prints_is_bounded_and_its_last_words_are_kept(ws: Workspace, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    then = "[print('x' * 999) for _ in range(20000)]; print('the last words')"
    choices.set_at_end(ws, AtEnd(command=marking(mark, then)))
    job = over(ws)
    assert followed(job)["steps"]["command"]["exit_code"] == 0
    parts = sorted(part for part in job.folder.glob("after.log*") if part.suffix != ".lock")
    assert [part.name for part in parts] == ["after.log", "after.log.1", "after.log.2"]
    assert sum(part.stat().st_size for part in parts) < 14_000_000
    assert parts[0].read_text().splitlines()[-1] == "the last words"


def test_a_command_is_not_run_again_after_a_kill(ws: Workspace, tmp_path: Path) -> None:
    mark, gone = tmp_path / "mark", tmp_path / "gone"
    wait = f"[time.sleep(0.1) for _ in iter(lambda: os.path.exists({str(gone)!r}), True)]"
    choices.set_at_end(ws, AtEnd(command=marking(mark, wait)))
    job = over(ws)
    process = follow(job)
    until(mark.exists, "the command runs")
    process.kill()
    process.wait()
    gone.touch()
    assert followed(job)["steps"]["command"]["state"] == "not known"
    assert mark.read_text() == "x"


# --- in this process: the same code, quicker ---------------------------------------------------------


@pytest.fixture
def mark(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(after, "TRY_AGAIN_S", 0.0)
    monkeypatch.setattr(command, "LOOK_S", 0.05)
    choices.set_at_end(ws, AtEnd(command=marking(tmp_path / "mark")))
    return tmp_path / "mark"


def steps_of(job: jobs.Job) -> dict[str, Any]:
    assert after.main([str(job.folder)]) == 0
    return dict(read_json(job.folder / "after.json")["steps"])


def test_a_file_that_is_not_the_recorded_one_stops_the_command_and_is_told(
    ws: Workspace, mark: Path, server: MessageServer
) -> None:
    job = over(ws)
    with (ws.loras / "zog.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    steps = steps_of(job)
    assert steps["verify"]["state"] == "not verified"
    assert steps["command"]["state"] == "left out"
    assert not mark.exists()
    assert "is not sound" in server.got[0][1]["message"]


def test_a_command_waits_for_the_last_training_of_the_queue(ws: Workspace, mark: Path) -> None:
    first, second = over(ws), jobs.create(ws, "train", "second", start=False)
    assert "second waits" in steps_of(first)["command"]["why"]
    assert not mark.exists()
    failed = End(cause="It failed.", at=time.time(), exit_code=1)
    write_status(second.folder, Status(state="failed", end=failed))
    assert steps_of(second)["command"]["state"] == "left out", "a failure is not a verified result"
    choices.set_at_end(ws, AtEnd(command=choices.at_end(ws).command, also_after_failure=True))
    third = over(ws, "failed", exit_code=1)
    assert steps_of(third)["command"]["state"] == "done"
    assert mark.read_text() == "x"


@pytest.mark.parametrize("takes", [True, False])
def test_a_retry_that_was_chosen_is_taken_once_and_said_in_the_message(
    ws: Workspace, mark: Path, server: MessageServer, monkeypatch: pytest.MonkeyPatch, takes: bool
) -> None:
    asked: list[str] = []

    def take_if_chosen(_ws: Workspace, job: jobs.Job, _status: Status) -> jobs.Job | None:
        asked.append(job.id)
        return job if takes else None

    ladder = types.SimpleNamespace(take_if_chosen=take_if_chosen)
    monkeypatch.setattr(after, "import_module", {"lora_core.runs.ladder": ladder}.__getitem__)
    steps_of(over(ws, "failed", exit_code=1))
    assert asked == [], "only where it was chosen beforehand"
    job = over(ws, "failed", exit_code=1)
    record = read_json(job.folder / "job.json")
    write_json(job.folder / "job.json", {**record, "params": {"retry_ladder": True}})
    for _ in range(2):
        steps_of(job)
    assert asked == [job.id]
    assert ("goes on with a cheaper setting" in server.got[-1][1]["message"]) is takes


def test_what_the_user_stopped_is_followed_by_nothing(
    ws: Workspace, mark: Path, server: MessageServer
) -> None:
    job = over(ws, "stopped", exit_code=None)
    steps_of(job)
    assert (server.got, mark.exists()) == ([], False)


def test_events_that_are_switched_off_are_not_told(ws: Workspace, mark: Path, server: MessageServer) -> None:
    choices.set_events(ws, Events(end=False))
    steps_of(over(ws))
    assert server.got == []
    steps_of(over(ws, "lost", exit_code=None))
    assert server.got[0][1]["title"] == "zog ended, and nobody saw how"


def test_a_service_that_refuses_is_asked_three_times_and_noted_without_its_address(
    ws: Workspace, mark: Path, server: MessageServer
) -> None:
    server.refuses = True
    job = over(ws)
    steps_of(job)
    assert len(server.got) == after.TRIES
    written = (job.folder / "after.json").read_text() + (job.folder / remarks.NAME).read_text()
    assert "was not sent" in written
    assert "json://" not in written
    assert mark.exists(), "the machine stops all the same"


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ('[at_end]\ncommand = "rm -rf x"\n', "not a list"),
        ("[at_end]\ncommand = [1]\n", "not a list"),
        ('[at_end]\ncommand = ["true"]\ntimeout_s = -1\n', "timeout_s"),
        ("[at_end", ""),
    ],
)
def test_a_command_that_is_written_wrongly_is_not_run_and_told(ws: Workspace, chosen: str, why: str) -> None:
    ws.settings_file.write_text(chosen, "utf-8")
    found = choices.at_end(ws)
    assert found.command == ()
    assert why in found.problem


def test_a_program_that_is_not_there_is_noted(ws: Workspace, mark: Path) -> None:
    choices.set_at_end(ws, AtEnd(command=("no-such-program-of-ours",)))
    assert steps_of(over(ws))["command"]["state"] == "failed"


def test_a_stall_is_told_once_in_an_attempt(ws: Workspace, mark: Path, server: MessageServer) -> None:
    job = jobs.create(ws, "train", "zog", start=False)
    write_status(job.folder, Status(state="running", phase="Training", step=40, total=80))
    stall = remarks.Stall(attempt=1, phase="Training", step=40, text="No step.", quiet_s=720.0)
    remarks.add(job.folder, "No step.", stall=stall)
    for _ in range(2):
        after.main([str(job.folder), "stall"])
    assert [body["title"] for _, body in server.got] == ["zog has made no step for 12 minutes"]


# --- who starts it ----------------------------------------------------------------------------------


def test_ends_from_before_and_without_a_wish_start_no_process(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(watchers, "_start", lambda _ws, job, *_: started.append(job.id))
    old = over(ws, at=watchers._LOADED_AT - 60)
    asked = over(ws, "stopped", exit_code=None)
    new = over(ws)
    monkeypatch.delenv(addresses.ENVIRONMENT)
    quiet = over(ws)
    for job in (old, asked, quiet):
        status = read_status(job.folder)
        assert status is not None
        watchers.ended(ws, job, status)
    assert started == []
    monkeypatch.setenv(addresses.ENVIRONMENT, "json://127.0.0.1:9/x")
    for job in (quiet, new):
        status = read_status(job.folder)
        assert status is not None
        watchers.ended(ws, job, status)
    assert started == [new.id], "an address that is entered later does not reach back"


def test_a_process_that_was_killed_is_followed_by_another_at_a_later_look(
    ws: Workspace, server: MessageServer
) -> None:
    job = over(ws)
    status = read_status(job.folder)
    assert status is not None
    watchers.ended(ws, job, status)
    child = watchers._of(ws).children[0]
    child.send_signal(signal.SIGKILL)
    child.wait(WAIT_S)

    def done() -> bool:
        watchers.busy(ws, False)
        return after.is_done(job.folder, status)

    until(done, "the end is dealt with")
    for child in watchers._of(ws).children:
        child.wait(WAIT_S)
    assert len(server.got) == 1


def test_a_training_that_fails_under_the_real_runner_is_told(ws: Workspace, server: MessageServer) -> None:
    job = jobs.create(ws, "train", "zog", engine="no-such-engine")
    until(lambda: bool(server.got), "the message arrives")
    assert server.got[0][1]["title"] == "zog failed"
    until(lambda: bool(read_json(job.folder / "after.json").get("done")), "the end is dealt with")
    owner = liveness.read_owner(spawn.runner_lock(ws))
    if owner is not None and owner.lives():
        os.kill(owner.pid, signal.SIGKILL)
