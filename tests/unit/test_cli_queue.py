"""The commands about waiting jobs: what they print, change and refuse."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lora_core import cli, jobs
from lora_core.cli_queue import point_in_time
from lora_core.errors import JobError
from lora_core.jobs import control, requests, spawn
from lora_core.jobs.liveness import Lock
from lora_core.jobs.look import engine_lock
from lora_core.jobs.records import Status, read_status, write_status
from lora_core.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in which nothing is ever started."""
    monkeypatch.setattr(control, "ensure_runner", lambda _ws: False)
    monkeypatch.setattr(spawn, "ensure_runner", lambda _ws: False)
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def run(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["jobs", *arguments, "--workspace", str(ws.root)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def three(ws: Workspace) -> list[jobs.Job]:
    return [jobs.create(ws, "train", name, start=False) for name in ("one", "two", "three")]


def order(run: Run) -> list[str]:
    return [record["name"] for record in json.loads(run("queue", "--json")[1])]


def test_an_empty_queue_is_said(run: Run) -> None:
    assert run("queue") == (0, "No job waits.\n", "")


def test_the_queue_is_listed_in_its_order_with_the_reason_of_each(run: Run, three: list[jobs.Job]) -> None:
    code, out, _ = run("queue")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        [str(place), job.id] for place, job in enumerate(three, 1)
    ]
    assert all(line.endswith(".") for line in out.splitlines())


def test_a_job_is_moved_before_another_and_to_the_end(run: Run, three: list[jobs.Job]) -> None:
    code, out, _ = run("move", three[2].id, "--before", three[0].id)
    assert (code, out.partition(".")[0]) == (0, "three is number 1 in the queue")
    assert order(run) == ["three", "one", "two"]
    assert run("move", three[2].id, "--end")[0] == 0
    assert order(run) == ["one", "two", "three"]


@pytest.mark.parametrize("more", [[], ["--before", "last", "--end"]])
def test_a_move_needs_one_place(run: Run, three: list[jobs.Job], more: list[str]) -> None:
    code, _, error = run("move", three[0].id, *more)
    assert code == 2
    assert "--before ID or --end" in error


def test_a_job_is_held_and_released(run: Run, three: list[jobs.Job]) -> None:
    assert "held" in run("hold", three[0].id)[1]
    held = {record["name"]: record["held"] for record in json.loads(run("queue", "--json")[1])}
    assert held == {"one": True, "two": False, "three": False}
    assert json.loads(run("release", three[0].id, "--json")[1])["held"] is False


def test_a_job_gets_a_time_and_loses_it(run: Run, three: list[jobs.Job]) -> None:
    record = json.loads(run("start-at", three[0].id, "2099-01-31 22:00", "--json")[1])
    assert datetime.fromtimestamp(record["not_before"]).astimezone().hour == 22
    assert json.loads(run("start-at", three[0].id, "now", "--json")[1])["not_before"] is None


def test_a_time_of_day_is_the_next_one() -> None:
    now = datetime(2026, 5, 4, 21, 30).astimezone().timestamp()
    assert point_in_time("22:00", now) == now + 1800
    assert point_in_time("21:30", now) == now + 86_400
    assert point_in_time("now", now) is None


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2020-01-01 10:00", "2026-13-01 10:00", "22:00:00:00"])
def test_what_is_no_time_or_has_passed_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="The time was not set"):
        point_in_time(text, time.time())


def test_a_waiting_job_is_taken_out_and_one_that_runs_is_not(
    ws: Workspace, run: Run, three: list[jobs.Job]
) -> None:
    assert run("remove", three[0].id)[1].startswith("one is stopped.")
    assert order(run) == ["two", "three"]
    code, _, error = run("remove", three[0].id)
    assert code == 2
    assert "It does not wait: it is stopped." in error


def test_a_waiting_job_is_paused(run: Run, three: list[jobs.Job]) -> None:
    assert run("pause", three[0].id)[1].startswith("one is paused.")


@pytest.mark.parametrize("wish", ["save", "sample"])
def test_a_running_job_is_asked_and_a_waiting_one_is_refused(
    ws: Workspace, run: Run, three: list[jobs.Job], wish: Any
) -> None:
    code, _, error = run(wish, three[1].id)
    assert code == 2
    assert "It is queued" in error
    write_status(three[0].folder, Status(state="running", updated=time.time()))
    with Lock.acquire(engine_lock(three[0].folder)):
        code, out, _ = run(wish, three[0].id)
    assert (code, out.partition(".")[0]) == (0, "one was asked")
    assert requests.take(three[0].folder, wish)


def test_the_rules_are_shown_and_changed(ws: Workspace, run: Run) -> None:
    before = json.loads(run("rules", "--json")[1])
    assert (before["stop_after_failure"], before["keep_awake"]["on"]) == (False, True)
    assert before["at_end"]["command"] == []
    run("rules", "--stop-after-failure", "--let-sleep")
    ws.settings_file.write_text(
        ws.settings_file.read_text("utf-8") + '[at_end]\ncommand = ["poweroff"]\n', "utf-8"
    )
    out = run("rules")[1]
    assert "Further trainings wait" in out
    assert "may go to sleep" in out
    assert "Command at the end: poweroff." in out


def test_a_job_that_does_not_wait_is_bad_input(ws: Workspace, run: Run, three: list[jobs.Job]) -> None:
    jobs.stop(ws, three[0].id)
    status = read_status(three[0].folder)
    assert status is not None
    assert status.state == "stopped"
    for arguments in (["hold", three[0].id], ["release", three[0].id], ["start-at", three[0].id, "now"]):
        assert run(*arguments)[0] == 2


def test_a_name_of_a_job_from_somebody_else_cannot_write_on_the_terminal(ws: Workspace, run: Run) -> None:
    job = jobs.create(ws, "train", "a\x1b[31mred\nline\x07", start=False, hold=True)
    (job.folder / "train.log").write_bytes(b"loading\x1b]0;a title\x07\x08\n")
    asked = [
        (),
        ("queue",),
        ("show", job.id),
        ("log", job.id),
        ("save", job.id),
        ("start-at", job.id, "22:00"),
    ]
    for arguments in [*asked, ("pause", job.id), ("remove", job.id), ("resume", job.id), ("hold", job.id)]:
        _, out, error = run(*arguments)
        assert (out + error).strip(), arguments
        odd = {letter for letter in out + error if ord(letter) < 32} - {"\n"}
        assert not odd, arguments
    assert len(run()[1].splitlines()) == 1, "a line for each job"
