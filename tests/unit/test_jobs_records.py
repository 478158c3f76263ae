"""Records of jobs: every allowed change of state and no other, and rubbish in their files."""

import ast
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_core.errors import FileTooNewError, JobError
from lora_core.jobs import records
from lora_core.jobs.records import (
    ACTIVE,
    ENDED,
    STATES,
    TABLE,
    End,
    ImpossibleChangeError,
    Job,
    Saved,
    Status,
    changing,
    job_record,
    move,
    noted,
    read_job,
    read_status,
    status_record,
    write_status,
)
from lora_core.workspace import write_json

FULL = Status(
    state="failed",
    phase="Training",
    step=412,
    total=500,
    loss=0.125,
    steps_per_s=3.5,
    eta_s=12.5,
    updated=1.5,
    attempt=2,
    order=7.0,
    held=True,
    not_before=8.5,
    device="cuda:1",
    resume_from="states/x-step00000400-state",
    saved=Saved(step=400, path="jobs/1/states/x-step00000400-state"),
    notes=("One image was skipped.",),
    end=End(
        cause="It broke.",
        fix="Mend it.",
        evidence="line",
        exit_code=-9,
        at=2.5,
        step=412,
        result="loras/x",
        row="cuda_oom",
    ),
)


# --- states ---------------------------------------------------------------------------------------


def test_the_table_names_every_state_and_no_other() -> None:
    assert set(TABLE) == set(STATES) == ACTIVE | ENDED | {"queued"}
    assert all(after <= set(STATES) for after in TABLE.values())


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_change_that_the_table_lacks_cannot_be_made(before: Any, after: Any) -> None:
    if after in TABLE[before]:
        assert move(Status(state=before), after).state == after
    else:
        with pytest.raises(ImpossibleChangeError):
            move(Status(state=before), after)


def test_every_end_but_finished_can_be_resumed_and_only_to_the_queue() -> None:
    assert {state: set(TABLE[state]) & {"queued"} for state in ENDED} == {
        state: (set() if state == "finished" else {"queued"}) for state in ENDED
    }


def test_from_every_state_an_end_can_be_reached() -> None:
    for state in STATES:
        reached, open_ = {state}, [state]
        while open_:
            new = TABLE[open_.pop()] - reached
            reached |= new
            open_ += new
        assert reached & ENDED, state


def test_no_other_code_sets_a_state() -> None:
    """`move` is the only way, but for the first state (queued), and that of a rebuilt record."""
    found = []
    for path in Path(records.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and any(keyword.arg == "state" for keyword in node.keywords):
                call = node.func
                name = call.id if isinstance(call, ast.Name) else getattr(call, "attr", "")
                found.append((path.name, name))
    allowed = {
        ("records.py", "replace"),
        ("records.py", "Status"),
        ("control.py", "Status"),
        ("look.py", "Status"),
    }
    # What else has a state keeps a record of its own: the runner's notes, messages about an end.
    assert {entry for entry in found if entry[1] in {"replace", "Status"}} == allowed


# --- status.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [True, False])
def test_a_status_is_read_as_it_was_written(tmp_path: Path, durable: bool) -> None:
    write_status(tmp_path, FULL, durable=durable)
    assert read_status(tmp_path) == FULL
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


def test_the_sentence_made_for_reading_is_not_written() -> None:
    assert {"message", "grace_left_s", "elsewhere"}.isdisjoint(status_record(FULL))


@pytest.mark.parametrize("durable", [True, False])
def test_a_note_with_a_name_that_is_no_text_ends_no_run(tmp_path: Path, durable: bool) -> None:
    write_status(tmp_path, Status(state="running", notes=("caf\udce9.png is broken.",)), durable=durable)
    assert read_status(tmp_path) is not None


def test_a_loss_that_is_not_a_number_survives(tmp_path: Path) -> None:
    write_status(tmp_path, Status(state="running", loss=math.nan))
    read = read_status(tmp_path)
    assert read is not None
    assert read.loss is not None
    assert math.isnan(read.loss)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[1]", b'{"format": 1}', b'{"state": "done"}', b"\xff\xfe", b"[" * 10**5]
)
def test_rubbish_is_no_status(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "status.json").write_bytes(content)
    assert read_status(tmp_path) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a slow machine is no fault
@given(
    st.dictionaries(st.sampled_from(sorted(set(status_record(FULL)) - {"format"})), JSON),
    st.sampled_from(STATES),
)
def test_a_field_of_a_wrong_type_costs_no_more_than_itself(record: dict[str, Any], state: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "read_json", lambda *_args, **_rest: record | {"state": state})
        read = read_status(Path("unused"))
    assert read is not None
    assert read.state == state
    json.dumps(status_record(read))


def test_only_the_last_notes_are_kept() -> None:
    status = Status(state="running")
    for number in range(60):
        status = noted(status, f"note {number}")
    assert (len(status.notes), status.notes[0], status.notes[-1]) == (50, "note 10", "note 59")


def test_two_at_once_change_a_job_one_after_the_other(tmp_path: Path) -> None:
    write_status(tmp_path, Status(state="queued", step=0))

    def add() -> None:
        for _ in range(10):
            with changing(tmp_path):
                now = read_status(tmp_path)
                assert now is not None
                write_status(tmp_path, Status(state="queued", step=now.step + 1), durable=False)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = read_status(tmp_path)
    assert read is not None
    assert read.step == 30


# --- job.json ---------------------------------------------------------------------------------------


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = Job(
        id="1",
        kind="train",
        name="my LoRA",
        folder=tmp_path / "1",
        created=1.5,
        engine="diffusers",
        host="here",
        parent="0",
        project="p",
        params={"output_name": "x"},
        hashes={"dataset": "ab"},
    )
    job.folder.mkdir()
    write_json(job.folder / "job.json", job_record(job))
    assert read_job(job.folder) == job
    assert str(tmp_path) not in (job.folder / "job.json").read_text("utf-8"), "a record names no place"


@pytest.mark.parametrize("record", [{}, {"kind": "train"}, {"kind": "train", "name": "x", "created": "soon"}])
def test_an_unreadable_job_says_so(tmp_path: Path, record: dict[str, Any]) -> None:
    write_json(tmp_path / "job.json", record)
    with pytest.raises(JobError, match="could not be read"):
        read_job(tmp_path)


def test_a_job_of_a_newer_version_is_not_opened(tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", {"format": 2, "kind": "train", "name": "x", "created": 1})
    with pytest.raises(FileTooNewError):
        read_job(tmp_path)
