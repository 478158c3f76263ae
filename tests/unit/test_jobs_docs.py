"""What docs/jobs.md claims, held against the code."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs
from lora_core.errors import JobError
from lora_core.jobs import control, liveness, look, requests, spawn
from lora_core.jobs.kinds import BESIDE, KINDS
from lora_core.jobs.records import ACTIVE, ENDED, STATES, TABLE, End, State, Status, read_status, write_status
from lora_core.jobs.runner import IDLE_S, KILL_AFTER_S
from lora_core.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text("utf-8")


def test_the_table_of_states_is_the_one_of_the_code() -> None:
    section = PAGE.partition("## States")[2].partition("*Failed*")[0]
    told: dict[str, set[str]] = {}
    for before, after in re.findall(r"^\| ([a-z, ]+) \| ([a-z, ]+) \|$", section, re.MULTILINE):
        for state in before.split(", "):
            told[state] = set() if after == "nothing" else set(after.split(", "))
    told.pop("state")
    assert told == {state: set(TABLE[state]) for state in STATES}


def test_the_times_and_numbers_are_those_of_the_code() -> None:
    assert (
        f"({KINDS['train'].grace_s:.0f} s for training, {KINDS['import'].grace_s:.0f} s for other jobs"
        in PAGE
    )
    assert f"after {IDLE_S:.0f} s without anything to do" in PAGE
    assert BESIDE == 2
    assert "two other jobs may run beside it" in PAGE
    assert f"SIGTERM to the process group; {KILL_AFTER_S:.0f} s later SIGKILL" in PAGE
    assert f"SIGKILL after {control.FORCE_GRACE_S:.0f} s" in PAGE


CALLS: dict[str, Callable[[Workspace, str], Any]] = {
    "stop": jobs.stop,
    "pause": jobs.pause,
    "save": lambda ws, job_id: jobs.request(ws, job_id, "save"),
    "sample": lambda ws, job_id: jobs.request(ws, job_id, "sample"),
    "resume": jobs.resume,
}


def told(state: str) -> dict[str, str]:
    """What the table of requests says of each request in this state: refused, nothing, or acts."""
    section = PAGE.partition("## Requests")[2].partition("\n- ")[0]
    rows = [line.split("|")[1:6] for line in section.splitlines() if line.startswith("|")]
    (row,) = [row for row in rows if state in row[0].strip().split(", ")]
    cells = [cell.strip() for cell in row[1:]]
    cells[1] = cells[0] if cells[1] == "the same" else cells[1]
    stop, pause, save, resume = (_sort_of(cell) for cell in cells)
    return {"stop": stop, "pause": pause, "save": save, "sample": save, "resume": resume}


def _sort_of(cell: str) -> str:
    if cell.startswith("refused"):
        return "refused"
    return "nothing" if cell.startswith("changes nothing") else "acts"


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("state", STATES)
def test_each_request_does_in_each_state_what_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, call: str
) -> None:
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(spawn, "ensure_runner", lambda _workspace: False)
    ws = Workspace.open(tmp_path)
    job = jobs.create(ws, "train", "x")
    end = End(cause="It has ended.") if state in ENDED else None
    write_status(job.folder, Status(state=state, end=end, updated=job.created))
    with contextlib.ExitStack() as alive:
        if state in ACTIVE:
            alive.enter_context(liveness.Lock.acquire(look.engine_lock(job.folder)))
        if state in {"stopping", "pausing"}:
            requests.ask(job.folder, "stop" if state == "stopping" else "pause", grace_s=60)
        before = _seen(job)
        try:
            CALLS[call](ws, job.id)
        except JobError:
            assert (told(state)[call], _seen(job)) == ("refused", before)
        else:
            assert told(state)[call] == ("nothing" if _seen(job) == before else "acts")


def _seen(job: jobs.Job) -> tuple[object, ...]:
    waits = [requests.path_of(job.folder, name).exists() for name in ("save", "sample")]
    return read_status(job.folder), requests.pending(job.folder), *waits
