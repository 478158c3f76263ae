"""The queue with real processes: as many trainings as there are graphics cards, and none shared."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import job_rig
import psutil
import pytest

from lora_core import jobs, machine
from lora_core.jobs import liveness, slots, spawn
from lora_core.jobs.kinds import KINDS
from lora_core.workspace import Workspace, write_json

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the POSIX way")

PATIENCE_S = 120.0


@pytest.fixture
def workspaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], Workspace]]:
    """Makes workspaces of a computer with so many graphics cards; nothing of them runs afterwards."""
    for name, kind in job_rig.RIG_KINDS.items():
        monkeypatch.setitem(KINDS, name, kind)
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [sys.executable, job_rig.HERE, "runner"])
    monkeypatch.setattr(spawn, "WORKER_COMMAND", [sys.executable, job_rig.HERE, "worker"])
    monkeypatch.setenv("RIG_IDLE_S", "0.3")
    monkeypatch.setenv("LORA_DEVICE_LOCKS", str(tmp_path / "device locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made: list[Workspace] = []

    def make(name: str, cards: int) -> Workspace:
        workspace = Workspace.open(tmp_path / name)
        facts = {"device": "cuda", "device_count": cards, "visible_devices": None}
        record = {"format": 1, "at": 0, "torch_version": machine._installed("torch"), "torch": facts}
        write_json(workspace.root / "machine.json", record)
        made.append(workspace)
        return workspace

    yield make
    for workspace in made:
        for job in jobs.jobs(workspace):
            (job.folder / "enough").touch()
            jobs.stop(workspace, job.id, force=True)
        until(lambda workspace=workspace: not _processes_of(workspace))  # type: ignore[misc]  # bound per turn


def _processes_of(ws: Workspace) -> bool:
    return any(
        any(str(ws.root) in part for part in process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
        for process in psutil.process_iter(["cmdline", "status"])
    )


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not so after {PATIENCE_S:g} s"
        time.sleep(0.02)


def card_of(job: jobs.Job) -> str:
    """Wait until the work runs; returns the graphics card that its process sees."""
    until((job.folder / "began").exists)
    return (job.folder / "card").read_text()


def enough(ws: Workspace, job: jobs.Job) -> None:
    (job.folder / "enough").touch()
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


def test_as_many_trainings_run_as_there_are_cards_each_on_its_own(
    workspaces: Callable[..., Workspace],
) -> None:
    ws = workspaces("my workspace ü", 2)
    first, second, third = (jobs.create(ws, "walk_device", f"walk {number}") for number in (1, 2, 3))
    assert (card_of(first), card_of(second)) == ("0", "1")
    assert [jobs.status(ws, job.id).device for job in (first, second)] == ["cuda:0", "cuda:1"]
    (entry,) = jobs.queue(ws)
    assert (entry.job.id, entry.why) == (third.id, "All 2 graphics cards are in use.")
    owner = liveness.read_owner(spawn.runner_lock(ws))
    assert owner is not None
    psutil.Process(owner.pid).kill()  # the next runner must know the cards that are in use
    enough(ws, second)
    assert card_of(third) == "1"
    assert jobs.status(ws, first.id).state == "running"
    enough(ws, first)
    enough(ws, third)


def test_a_card_that_another_workspace_uses_is_left_alone_until_it_is_free(
    workspaces: Callable[..., Workspace],
) -> None:
    ours, theirs = workspaces("ours", 1), workspaces("theirs", 1)
    first = jobs.create(theirs, "walk_device", "theirs")
    assert card_of(first) == "0"
    until(lambda: slots.taken("cuda:0"))
    second = jobs.create(ours, "walk_device", "ours")
    (entry,) = jobs.queue(ours)
    assert entry.why == "The graphics card is used from another workspace on this computer."
    beside = jobs.create(ours, "walk", "needs no card")
    assert card_of(beside) == "all"
    assert jobs.status(ours, second.id).state == "queued"
    enough(theirs, first)
    assert card_of(second) == "0"
    enough(ours, second)
    enough(ours, beside)


def test_a_pause_lets_the_next_run_and_the_paused_one_comes_back_first(
    workspaces: Callable[..., Workspace],
) -> None:
    ws = workspaces("ws", 1)
    first, second, third = (jobs.create(ws, "walk_device", f"walk {number}") for number in (1, 2, 3))
    card_of(first)
    jobs.reorder(ws, third.id, before=second.id)
    jobs.pause(ws, first.id)
    card_of(third)
    assert jobs.status(ws, first.id).state == "paused"
    (first.folder / "began").unlink()
    jobs.resume(ws, first.id)
    assert [entry.job.id for entry in jobs.queue(ws)] == [first.id, second.id]
    enough(ws, third)
    card_of(first)
    assert jobs.status(ws, second.id).state == "queued"
    jobs.remove(ws, second.id)
    enough(ws, first)
    assert not (second.folder / "began").exists()


def test_a_process_that_died_under_a_stopped_runner_is_no_living_job(
    workspaces: Callable[..., Workspace],
) -> None:
    """Nobody waits for it, so it stays as a zombie with its id."""
    ws = workspaces("ws", 1)
    first = jobs.create(ws, "walk_device", "walk")
    card_of(first)
    until(lambda: slots.taken("cuda:0") and not liveness.probe(slots.lock_of("cuda:0").with_suffix(".claim")))
    owner = liveness.read_owner(spawn.runner_lock(ws))
    pid = int((first.folder / "began").read_text().split()[0])
    assert owner is not None
    os.kill(owner.pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        # Its other threads may hold its locks for a moment longer.
        until(lambda: jobs.status(ws, first.id).state == "lost")
        assert not slots.in_use("cuda:0")
    finally:
        os.kill(owner.pid, signal.SIGCONT)
    assert jobs.wait(ws, first.id, PATIENCE_S).state == "failed"


def test_the_runner_and_the_worker_are_programs(tmp_path: Path) -> None:
    """The other tests start them through a script of their own, which would not notice."""
    ws = Workspace.open(tmp_path / "ws")
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-m", "lora_core.jobs.runner", str(ws.root)], cwd=root) as runner:
        until(lambda: liveness.read_owner(spawn.runner_lock(ws)))
        runner.kill()
    worker = [sys.executable, "-m", "lora_core.jobs.worker", str(ws.jobs / "none")]
    done = subprocess.run(worker, cwd=root, capture_output=True, text=True, check=False)
    assert "There is no job none" in done.stderr
