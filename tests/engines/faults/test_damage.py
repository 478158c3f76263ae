"""Files of jobs removed or filled with rubbish, clocks that jump, two apps at once, a read-only workspace."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import disks
import job_rig
import psutil
import pytest
from app_server import ROOT, AppServer
from kill_rig import TRUE_WITHIN_S, kill, processes_of, until
from promised import within_s
from streamlit.testing.v1 import AppTest

from lora_core import jobs
from lora_core.errors import LoraError
from lora_core.jobs import look, spawn
from lora_core.jobs.kinds import KINDS
from lora_core.workspace import Workspace

pytestmark = pytest.mark.skipif(os.name != "posix", reason="ends processes the POSIX way")

YEAR_S = 366 * 86_400.0


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose runners and workers know the rig's kinds; nothing of it runs afterwards."""
    for name, kind in job_rig.RIG_KINDS.items():
        monkeypatch.setitem(KINDS, name, kind)
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [sys.executable, job_rig.HERE, "runner"])
    monkeypatch.setattr(spawn, "WORKER_COMMAND", [sys.executable, job_rig.HERE, "worker"])
    monkeypatch.setenv("RIG_IDLE_S", "0.3")
    monkeypatch.setenv("RIG_CLOCK", str(tmp_path / "clock"))
    workspace = Workspace.open(tmp_path / "ws")
    yield workspace
    for job in jobs.jobs(workspace):
        jobs.stop(workspace, job.id, force=True)
    until(lambda: processes_of(workspace.root) == [])


@pytest.fixture
def walking(ws: Workspace) -> jobs.Job:
    """A job that makes a step every few milliseconds and has made some."""
    job = jobs.create(ws, "walk", "A walk")
    until(lambda: look.last_step(job.folder) > 2)
    return job


def goes_on(ws: Workspace, job: jobs.Job) -> None:
    """It is told as running, and it is: its steps go on."""
    until(lambda: jobs.status(ws, job.id).state == "running", within_s(TRUE_WITHIN_S))
    before = look.last_step(job.folder)
    until(lambda: look.last_step(job.folder) > before)
    assert jobs.status(ws, job.id).state == "running"


def stops_with_all_saved(ws: Workspace, job: jobs.Job) -> None:
    jobs.stop(ws, job.id)
    status = jobs.wait(ws, job.id, 120)
    assert status.state == "stopped"
    assert jobs.states(ws, job.id)[0].step == look.last_step(job.folder) == status.step


def spoil(path: Path, harm: str) -> None:
    if harm == "removed":
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    else:
        path.write_bytes(os.urandom(64) + b"\n{")


FILES = ("status.json", "status.lock", "engine.json", "engine.lock")


@pytest.mark.parametrize("harm", ["removed", "rubbish"])
@pytest.mark.parametrize("name", FILES)
def test_a_spoiled_file_under_a_running_job_changes_nothing_that_is_told(
    ws: Workspace, walking: jobs.Job, name: str, harm: str
) -> None:
    spoil(walking.folder / name, harm)
    goes_on(ws, walking)
    stops_with_all_saved(ws, walking)


def test_all_files_of_its_state_at_once(ws: Workspace, walking: jobs.Job) -> None:
    for name in FILES[:3]:
        spoil(walking.folder / name, "rubbish")
    goes_on(ws, walking)
    stops_with_all_saved(ws, walking)


def test_a_request_of_rubbish_is_still_a_request(ws: Workspace, walking: jobs.Job) -> None:
    (walking.folder / "requests" / "stop.json").write_bytes(os.urandom(64))
    status = jobs.wait(ws, walking.id, 120)
    assert status.state == "stopped"
    assert jobs.states(ws, walking.id)[0].step == status.step


def test_without_its_folder_of_requests_a_job_can_still_be_stopped(ws: Workspace, walking: jobs.Job) -> None:
    spoil(walking.folder / "requests", "removed")
    goes_on(ws, walking)
    stops_with_all_saved(ws, walking)


@pytest.mark.parametrize("harm", ["removed", "rubbish"])
def test_a_spoiled_lock_of_the_runner_leaves_one_runner_and_the_job(
    ws: Workspace, walking: jobs.Job, harm: str
) -> None:
    spoil(spawn.runner_lock(ws), harm)
    goes_on(ws, walking)
    until(lambda: len(runners(ws)) == 1)
    stops_with_all_saved(ws, walking)


def runners(ws: Workspace) -> list[psutil.Process]:
    # As it was listed: one that leaves at this moment has no command line any more.
    return [found for found in processes_of(ws.root) if "runner" in found.info["cmdline"]]


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S, 3 * 3600.0, -90.0])
def test_a_clock_that_jumps_ends_nothing_and_costs_no_save(
    ws: Workspace, walking: jobs.Job, jump_s: float
) -> None:
    clock = Path(os.environ["RIG_CLOCK"])
    part = clock.with_suffix(".part")
    part.write_text(str(jump_s))
    part.replace(clock)
    until(lambda: jobs.status(ws, walking.id).updated > 0)
    goes_on(ws, walking)
    until(lambda: runners(ws))
    kill(runners(ws)[0].pid)  # the next one knows nothing but what the files say
    goes_on(ws, walking)
    stops_with_all_saved(ws, walking)


@pytest.mark.timeout(600)
def test_two_apps_on_one_workspace_share_one_runner_and_lose_nothing(tmp_path: Path) -> None:
    apps = [AppServer(workspace=tmp_path / "ws", log=tmp_path / f"app{number}.log") for number in range(2)]
    ws = Workspace.open(tmp_path / "ws")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    try:
        for app in apps:
            app.start()
        asked = [
            jobs.create(ws, "import", f"Pictures {number}", {"source": str(pictures), "name": f"n{number}"})
            for number in range(4)
        ]
        ended = [jobs.wait(ws, job.id, 120) for job in asked]
        assert {status.state for status in ended} == {"failed"}, "there are no pictures in the folder"
        assert all(status.end and status.end.cause and status.end.fix for status in ended)
        assert [status.attempt for status in ended] == [1] * 4, "none was done twice"
        apps[0].kill()
        assert jobs.jobs(ws)[0].id == asked[-1].id
    finally:
        for app in apps:
            app.stop()
    until(lambda: processes_of(ws.root) == [])


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A workspace with one finished job, on a disk that was made read only since."""
    with disks.small(tmp_path / "disk", "8m") as place:
        ws = Workspace.open(place / "ws")
        job = jobs.create(ws, "import", "Old pictures", {"source": "nowhere"}, start=False)
        jobs.stop(ws, job.id)
        until(lambda: processes_of(ws.root) == [])
        disks.make_read_only(place)
        yield ws.root


def test_a_read_only_workspace_shows_what_it_has_and_says_why_nothing_can_be_added(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_WORKSPACE", str(read_only))
    ws = Workspace.open(read_only)
    (job,) = jobs.jobs(ws)
    assert jobs.status(ws, job.id).state == "stopped"
    with pytest.raises(LoraError) as refused:
        jobs.create(ws, "import", "New pictures", {"source": "nowhere"})
    assert "read-only" in refused.value.why.lower()
    assert refused.value.fix
    app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=120).run()
    assert not app.exception
    for page in ("Setup", "Dataset", "Training", "Utilities"):
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception, page
        headings = [header.value for header in app.header]
        assert headings == ["What this does", "What you need", "Do it", "What happened"], page
