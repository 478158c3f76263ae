"""Files of a job with values that no field can hold, and files that a newer version of the app wrote."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs
from lora_core.errors import FileTooNewError, JobError, WorkspaceError
from lora_core.jobs import after, control, liveness, look, remarks, requests, runner, spawn
from lora_core.jobs.records import read_status, status_record
from lora_core.runs import ladder
from lora_core.workspace import Workspace, read_json
from ui import now, state

ODD = (
    "1" + "0" * 400,
    "7" * 5000,
    "-" + "1" * 400,
    "1e999",
    "-Infinity",
    "NaN",
    "1e308",
    "1e18",
    "null",
    "[]",
    '"x"',
)
FILES: dict[str, dict[str, Any]] = {
    "engine.json": {"pid": 1, "started": "x", "host": "", "attempt": 1, "oom_kills": 0},
    "remarks.json": {
        "remarks": [],
        "stall": {"attempt": 1, "phase": "", "step": 3, "text": "", "quiet_s": 3},
    },
    "after.json": {"attempt": 1, "ended_at": 0.0, "steps": {}, "done": False},
    "ladder.json": {
        "steps": [{"key": "", "label": "", "at": 1, "from_step": 3, "beforehand": True, "changes": []}]
    },
    "requests/stop.json": {"at": 1.0, "grace_s": 3.0, "force": False},
}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(control, "ensure_runner", lambda _workspace: False)
    monkeypatch.setattr(control, "runner_alive", lambda _workspace: True)
    monkeypatch.setattr(spawn, "runner_alive", lambda _workspace: True)
    monkeypatch.setattr(liveness, "_LOOK_GAP_S", 0.0)
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def job(ws: Workspace) -> jobs.Job:
    return jobs.create(ws, "train", "one")


def put(job: jobs.Job, to: str, **values: Any) -> None:
    """Write a status of this state; a value may be `odd`, which stands for a text that no field can hold."""
    status = read_status(job.folder)
    assert status is not None
    end = {"cause": "x", "fix": "", "at": 1.0, "step": 3} if to in {"failed", "paused"} else None
    record = status_record(status) | {
        "state": to,
        "step": 3,
        "total": 9,
        "loss": 0.5,
        "eta_s": 3.0,
        "end": end,
    }
    (job.folder / "status.json").write_text(json.dumps(record | values), "utf-8")


def spoilt(record: Any, odd: str) -> list[str]:
    """`record` as texts, each with another one of its values replaced by `odd`."""
    keys = record if isinstance(record, dict) else range(len(record)) if isinstance(record, list) else ()
    found = []
    for key in keys:
        whole = record.copy()
        for inner in spoilt(record[key], odd) or []:
            whole[key] = "@@"
            found.append(json.dumps(whole).replace('"@@"', inner))
        whole[key] = "@@"
        found.append(json.dumps(whole).replace('"@@"', odd))
    return found


def looked_at(ws: Workspace, job: jobs.Job) -> None:
    """All that looks at a job: commands, pages, the runner, what follows an end."""
    seen = jobs.status(ws, job.id)
    jobs.queue(ws)
    jobs.stopped_by(ws)
    runner.Runner(ws).anything_open()
    requests.pending(job.folder)
    liveness.read_owner(look.engine_lock(job.folder))
    remarks.stall_of(job.folder)
    ladder.taken(job)
    after._Record(job.folder, seen).step("verify")
    now.sentence(job, seen)
    now.time_left(seen)
    now.share_of(job, seen)
    state.when(seen.updated)


@pytest.mark.parametrize("to", ["queued", "failed"])
def test_no_value_in_a_status_stops_whoever_looks(ws: Workspace, job: jobs.Job, to: str) -> None:
    put(job, to)
    record = read_json(job.folder / "status.json")
    for odd in ODD:
        for text in spoilt(record, odd):
            (job.folder / "status.json").write_text(text, "utf-8")
            looked_at(ws, job)


@pytest.mark.parametrize("name", FILES)
def test_no_value_in_another_file_of_a_job_stops_whoever_looks(
    ws: Workspace, job: jobs.Job, name: str
) -> None:
    put(job, "failed")
    for odd in ODD:
        for text in [*spoilt(FILES[name], odd), odd]:
            (job.folder / name).write_text(text, "utf-8")
            looked_at(ws, job)


def test_a_number_beyond_all_bounds_costs_its_field_alone(ws: Workspace, job: jobs.Job) -> None:
    put(job, "queued", phase="kept")
    text = (job.folder / "status.json").read_text("utf-8")
    (job.folder / "status.json").write_text(text.replace('"loss": 0.5', f'"loss": {"7" * 5000}'), "utf-8")
    seen = jobs.status(ws, job.id)
    assert (seen.state, seen.phase, seen.loss) == ("queued", "kept", None)


def test_a_job_of_another_time_than_any_is_told_as_unreadable(ws: Workspace, job: jobs.Job) -> None:
    record = read_json(job.folder / "job.json") | {"created": 1e300}
    (job.folder / "job.json").write_text(json.dumps(record), "utf-8")
    assert jobs.jobs(ws) == []


def test_a_record_that_the_system_does_not_give_out_stops_nobody(ws: Workspace, job: jobs.Job) -> None:
    other = jobs.create(ws, "train", "two")
    (job.folder / "job.json").unlink()
    (job.folder / "job.json").mkdir()
    assert [entry.job.id for entry in jobs.queue(ws)] == [other.id]
    assert [one.id for one in jobs.jobs(ws)] == [other.id]
    assert [one.id for one, _ in runner.Runner(ws)._open_jobs()] == [other.id]
    with pytest.raises(JobError, match="did not give out"):
        jobs.get(ws, job.id)


@pytest.mark.parametrize("grace", ["NaN", "Infinity", "1e300", "-5", '"soon"'])
def test_a_request_with_an_odd_grace_is_insisted_on_at_once(job: jobs.Job, grace: str) -> None:
    text = f'{{"at": {grace}, "grace_s": {grace}, "force": false}}'
    requests.path_of(job.folder, "stop").write_text(text, "utf-8")
    asked = requests.pending(job.folder)
    assert asked is not None
    assert asked.grace_s == 0.0
    assert abs(asked.at - time.time()) < 3600


# --- a newer version ----------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["queued", "starting", "running", "failed", "paused", "waiting_for_snow"])
def test_a_status_of_a_newer_version_is_shown_and_never_changed(
    ws: Workspace, job: jobs.Job, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(job, to, format=2, weather="snow", updated=time.time() - 600)
    before = (job.folder / "status.json").read_bytes()
    seen = jobs.status(ws, job.id)
    assert "newer version" in " ".join((*seen.notes, seen.message))
    monkeypatch.setattr(spawn, "start_worker", lambda *_given, **_rest: pytest.fail("it was started"))
    supervisor = runner.Runner(ws)
    for _ in range(2):
        supervisor.look()
    assert not supervisor.anything_open(), "or this runner would never leave"
    assert not jobs.queue(ws)
    for change in (jobs.stop, jobs.pause, jobs.resume, jobs.hold, jobs.remove):
        with pytest.raises((FileTooNewError, WorkspaceError)):
            change(ws, job.id)
    assert (job.folder / "status.json").read_bytes() == before


def test_one_of_a_newer_version_does_not_hold_up_the_others(ws: Workspace, job: jobs.Job) -> None:
    put(job, "queued", format=2)
    other = jobs.create(ws, "train", "two")
    assert [entry.job.id for entry in jobs.queue(ws)] == [other.id]
