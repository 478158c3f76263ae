"""After which time without a step a run counts as stalled, and what the runner makes of that."""

import json
from pathlib import Path
from typing import Any

import pytest

from lora_core import jobs
from lora_core.jobs import addresses, after, control, look, messages, pace, remarks, watchers
from lora_core.jobs.liveness import Lock
from lora_core.jobs.records import End, Status, write_status
from lora_core.workspace import Workspace


@pytest.mark.parametrize(
    ("phase", "step_s", "limit_s"),
    [
        ("Training", [0.5] * 9, pace.LEAST_S),  # a quick run: five minutes
        ("Training", [60.0] * 9, 1200.0),  # a slow one: twenty of its own steps
        ("Training", [1.0] * 8 + [4000.0], pace.LEAST_S),  # one odd step does not count
        ("Training", [], pace.FIRST_STEP_S),  # the first step may compile
        ("Drawing samples", [0.5], pace.OTHER_PARTS_S),
        ("Preparing the pictures", [], pace.OTHER_PARTS_S),
        ("Saving", [400.0], 8000.0),
        ("", [], pace.OTHER_PARTS_S),
    ],
)
def test_the_limit_fits_the_part_and_the_pace_of_the_run(
    phase: str, step_s: list[float], limit_s: float
) -> None:
    assert pace.limit_s(phase, step_s) == limit_s
    assert not pace.stalled(phase, step_s, limit_s - 1)
    assert pace.stalled(phase, step_s, limit_s)


def test_the_pace_is_read_from_the_last_steps_and_rubbish_is_left_out(tmp_path: Path) -> None:
    assert pace.recent_steps(tmp_path) == []
    lines = [json.dumps({"kind": "step", "step": n, "step_s": float(n)}) for n in range(1, 501)]
    odd = ['{"kind": "epoch", "step": 500}', '{"step_s": true}', '{"step_s": -1}', '{"step_s": "x"}', "[1]"]
    (tmp_path / "progress.jsonl").write_text("\n".join([*lines, *odd, '{"step": 501, "st']), "utf-8")
    assert pace.recent_steps(tmp_path) == [float(n) for n in range(401, 501)]


@pytest.mark.parametrize(
    ("seconds", "words"), [(20, "1 minute"), (300, "5 minutes"), (5000, "83 minutes"), (7300, "2 hours")]
)
def test_a_duration_is_said_coarsely(seconds: float, words: str) -> None:
    assert pace.as_said(seconds) == words


# --- what the runner makes of it --------------------------------------------------------------------


class Rig:
    """A run that is on record as running, looked at by a runner whose clock the test moves."""

    def __init__(self, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ws, self.now = ws, 1000.0
        self.job = jobs.create(ws, "train", "zog", start=False)
        self.started: list[tuple[str, ...]] = []
        monkeypatch.setattr(watchers, "_start", lambda _ws, _job, *more: self.started.append(more))
        monkeypatch.setattr(watchers.time, "monotonic", lambda: self.now)
        steps = [json.dumps({"step": n, "step_s": 1.0}) for n in range(1, 30)]
        (self.job.folder / "progress.jsonl").write_text("\n".join(steps), "utf-8")

    def look(self, seconds: float, **values: Any) -> None:
        """Look every 20 s until so many seconds have passed."""
        status = Status(**{"state": "running", "phase": "Training", "step": 29, "total": 90, **values})
        write_status(self.job.folder, status)
        until = self.now + seconds
        while self.now < until:
            self.now += 20
            watchers.looked(self.ws, self.job, status)

    @property
    def notes(self) -> tuple[str, ...]:
        return look.status(self.job).notes


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv(addresses.ENVIRONMENT, "json://127.0.0.1:9/x")
    return Rig(Workspace.open(tmp_path / "ws"), monkeypatch)


def test_a_run_without_a_step_is_noted_and_told_once(rig: Rig) -> None:
    with Lock.acquire(look.engine_lock(rig.job.folder)):
        rig.look(280)
        assert rig.notes == ()
        rig.look(3000)
        seen = look.status(rig.job)
    assert len(seen.notes) == 1
    assert "No step for 5 minutes in the part Training" in seen.notes[0]
    assert seen.state == "running", "a stall is no failure"
    assert seen.message == seen.notes[0]
    assert rig.started == [("stall",)]


def test_a_stall_is_taken_back_when_the_run_goes_on(rig: Rig) -> None:
    with Lock.acquire(look.engine_lock(rig.job.folder)):
        rig.look(600)
        rig.look(60, step=30)
        seen = look.status(rig.job)
    assert [note.partition(".")[0] for note in seen.notes][1:] == ["It goes on, at step 30"]
    assert seen.message == "Training"
    assert remarks.stall_of(rig.job.folder) is None


def test_another_runner_does_not_tell_the_same_stall_again_and_takes_it_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.look(600)
    monkeypatch.setattr(watchers, "_seen", {})
    rig.look(600)
    assert (len(rig.started), remarks.stall_of(rig.job.folder) is None) == (1, False)
    rig.look(20, step=31)
    assert remarks.stall_of(rig.job.folder) is None


def test_a_runner_that_was_held_up_itself_begins_to_count_anew(rig: Rig) -> None:
    rig.look(200)
    rig.now += 5000
    rig.look(280)
    assert rig.started == []


def test_parts_without_steps_have_their_time_and_a_growing_log_shows_work(rig: Rig) -> None:
    rig.look(3500, phase="Preparing the pictures", step=0)
    rig.job.log.write_text("12 of 400 prepared\n", "utf-8")
    rig.look(3500, phase="Preparing the pictures", step=0)
    assert rig.started == []
    rig.look(200, phase="Preparing the pictures", step=0)
    assert rig.started == [("stall",)]


def test_nothing_is_told_without_an_address_and_the_note_is_there_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(addresses.ENVIRONMENT)
    rig.look(600)
    assert rig.started == []
    assert remarks.stall_of(rig.job.folder) is not None


def test_other_jobs_are_not_watched(rig: Rig) -> None:
    rig.job = jobs.create(rig.ws, "import", "pictures", start=False)
    rig.look(9000)
    assert rig.started == []


def test_a_watcher_never_raises(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    for name in ("_watch", "_over", "_look"):
        monkeypatch.setattr(watchers, name, broken)
    status = Status(state="running")
    watchers.looked(rig.ws, rig.job, status)
    watchers.ended(rig.ws, rig.job, status)
    watchers.busy(rig.ws, True)


def test_a_stall_in_the_end_is_no_message_of_a_run(rig: Rig) -> None:
    """The remark of a stall stays a note; what the ended run says of itself is its own message."""
    rig.look(600)
    write_status(rig.job.folder, Status(state="failed", step=29, end=End(cause="It was killed.", at=1.0)))
    seen = look.status(rig.job)
    assert (seen.message, len(seen.notes)) == ("It was killed.", 1)


# --- words ------------------------------------------------------------------------------------------


def test_the_message_has_name_state_step_and_what_to_do_and_no_path() -> None:
    status = Status(state="failed", step=412, total=800)
    said = messages.ended("my/secret/folder/zog\n", status, saved_step=400, sound=False, goes_on=False)
    assert said.body == (
        "zog failed at step 412 of 800. "
        "Step 400 is saved. Open the app, read the cause, and resume from there."
    )
    assert "/" not in said.title + said.body
    done = Status(state="finished", step=800, total=800)
    said = messages.ended("zog", done, saved_step=800, sound=True, goes_on=False)
    assert said.body == "zog is finished at step 800 of 800. The LoRA file is there and sound."


@pytest.mark.parametrize(
    ("state", "asked", "event"),
    [
        ("finished", False, "end"),
        ("failed", False, "failure"),
        ("lost", False, "failure"),
        ("stopped", True, None),
        ("paused", True, None),
        ("paused", False, "failure"),  # the work paused by itself: the disk is full
    ],
)
def test_what_the_user_asked_for_is_no_event(state: Any, asked: bool, event: str | None) -> None:
    assert messages.event_of(state, asked=asked) == event


def test_an_end_is_asked_for_when_a_request_or_no_process_stands_behind_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ensure_runner", lambda _ws: False)
    by_itself = Status(state="paused", end=End(cause="The disk is full.", exit_code=0))
    assert not after.is_asked(rig.job, by_itself)
    assert after.is_asked(rig.job, Status(state="stopped", end=End(cause="Taken out of the queue.")))
    control.requests.ask(rig.job.folder, "pause")
    assert after.is_asked(rig.job, by_itself)
