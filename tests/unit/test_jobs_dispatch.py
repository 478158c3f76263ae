"""Which waiting job starts next: whatever the queue and the computer look like, the same rules hold."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_core.jobs.dispatch import Busy, Decision, decide, needs_device
from lora_core.jobs.kinds import BESIDE
from lora_core.jobs.records import Job, Status

NOW = 1_800_000_000.0
KINDS = st.sampled_from(["train", "smoke", "import", "export", "no such kind"])
DEVICES = st.sampled_from([("cpu",), ("cuda:0",), ("cuda:0", "cuda:1"), ("cuda:2", "cuda:3", "cuda:GPU-a")])
TIMES = st.none() | st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 1e6, 1e300, -1e300])


def job_of(number: int, kind: str) -> Job:
    return Job(id=f"{number:04}", kind=kind, name=f"job {number}", folder=Path("x"), created=0.0)


@st.composite
def waitings(draw: st.DrawFn) -> list[tuple[Job, Status]]:
    entries = draw(st.lists(st.tuples(KINDS, st.booleans(), TIMES, st.integers(0, 5)), max_size=8))
    return [
        (
            job_of(number, kind),
            Status(state="queued", held=held, not_before=not_before, order=float(order)),
        )
        for number, (kind, held, not_before, order) in enumerate(entries)
    ]


@st.composite
def busies(draw: st.DrawFn, devices: tuple[str, ...]) -> list[Busy]:
    kinds = draw(st.lists(KINDS, max_size=4))
    return [
        Busy(
            job=job_of(1000 + number, kind),
            device=draw(st.sampled_from([*devices, None])) if kind in {"train", "smoke"} else None,
        )
        for number, kind in enumerate(kinds)
    ]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a slow machine is no fault
@given(st.data())
def test_whatever_waits_and_runs_the_rules_hold(data: st.DataObject) -> None:
    devices = data.draw(DEVICES)
    waiting, busy = data.draw(waitings()), data.draw(busies(devices))
    foreign = set(data.draw(st.lists(st.sampled_from(devices), max_size=2)))
    failed = data.draw(st.none() | st.just("the last run"))
    found = decide(waiting, busy, devices=devices, in_use=foreign.__contains__, failed=failed, now=NOW)
    started = [one for one in found if one.starts]

    assert sorted(one.job.id for one in found) == sorted(job.id for job, _ in waiting), "no job is lost"
    assert [(one.status.order, one.job.id) for one in found] == sorted(
        (status.order, job.id) for job, status in waiting
    ), "the order is respected"
    assert all(one.why.endswith(".") for one in found), "each says why in a sentence"
    for one in started:
        assert not one.status.held
        assert one.status.not_before is None or one.status.not_before <= NOW
        assert (one.device is not None) == needs_device(one.job)
        assert one.device not in foreign
        assert not (failed and needs_device(one.job))
    given_out = [one.device for one in started if one.device is not None]
    in_use = [entry.device for entry in busy if entry.device is not None]
    assert len(set(given_out)) == len(given_out), "one job a device"
    assert not set(given_out) & set(in_use)
    unknown = sum(entry.device is None and needs_device(entry.job) for entry in busy)
    assert len(given_out) <= max(0, len(devices) - len(set(in_use)) - unknown)
    beside = sum(not needs_device(entry.job) for entry in busy)
    assert beside >= BESIDE or beside + sum(one.device is None for one in started) <= BESIDE
    _nobody_is_passed_over(found)


def _nobody_is_passed_over(found: list[Decision]) -> None:
    """A job starts only where every job before it of its own sort starts too, or waits by its own wish."""
    for sort in (True, False):
        free_to_go = [one for one in found if needs_device(one.job) is sort and _may(one.status)]
        assert [one.starts for one in free_to_go] == sorted((one.starts for one in free_to_go), reverse=True)


def _may(status: Status) -> bool:
    return not status.held and (status.not_before is None or status.not_before <= NOW)


def why_of(status: Status, *, now: float = NOW, busy: tuple[Busy, ...] = (), **rest: object) -> str:
    asked = {"devices": ("cuda:0",), "in_use": lambda _device: False, "failed": None} | rest
    (one,) = decide([(job_of(1, "train"), status)], busy, now=now, **asked)  # type: ignore[arg-type]  # for brevity
    return one.why


def test_each_reason_to_wait_is_one_plain_sentence() -> None:
    queued = Status(state="queued")
    other = Busy(job=job_of(7, "train"), device="cuda:0")
    assert why_of(Status(state="queued", held=True)) == "It is held until you release it."
    assert why_of(queued, busy=(other,)) == "“job 7” uses the graphics card."
    assert (
        why_of(queued, in_use=lambda _device: True)
        == "The graphics card is used from another workspace on this computer."
    )
    assert why_of(queued, busy=(other,), devices=("cuda:0", "cuda:1")) == "It starts in a moment."
    assert (
        why_of(queued, busy=(other,), devices=("cuda:0", "cuda:1"), in_use="cuda:1".__eq__)
        == "All 2 graphics cards are in use. One of them is used from another workspace."
    )
    assert why_of(queued, failed="my LoRA") == "The queue waits because my LoRA did not end well."
    cpu = Busy(job=job_of(7, "train"), device="cpu")
    assert why_of(queued, busy=(cpu,), devices=("cpu",)).startswith("“job 7” comes first.")
    assert why_of(queued) == "It starts in a moment."


@pytest.mark.parametrize(
    ("later_s", "told"),
    [(3600, "13:00"), (86_400, "6 February, 12:00"), (86_400 * 365, "5 February 2027, 12:00")],
)
def test_a_time_is_told_with_its_day_where_that_is_not_today(later_s: float, told: str) -> None:
    noon = time.mktime((2026, 2, 5, 12, 0, 0, 0, 0, -1))
    status = Status(state="queued", not_before=noon + later_s)
    assert why_of(status, now=noon) == f"It does not start before {told}."


def test_a_time_that_no_calendar_has_still_waits_with_a_sentence() -> None:
    assert why_of(Status(state="queued", not_before=1e300)).startswith("It does not start before a time")


def test_a_job_of_a_kind_that_nobody_knows_starts_and_fails_with_its_reason() -> None:
    """It must not stay in the queue for ever."""
    (one,) = decide(
        [(job_of(1, "no such kind"), Status(state="queued"))],
        [],
        devices=("cpu",),
        in_use=lambda _device: False,
        failed=None,
        now=NOW,
    )
    assert one.starts
