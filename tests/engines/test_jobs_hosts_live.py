"""Two computers on one workspace, a terminal that is closed or gets Ctrl-C: with real processes."""

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

from lora_core import jobs
from lora_core.errors import JobError
from lora_core.jobs import hosts, liveness, look, spawn
from lora_core.jobs.kinds import KINDS
from lora_core.workspace import Workspace

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes the POSIX way")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s"
        time.sleep(0.02)


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace whose runners and workers know the rig's kinds; nothing of it runs afterwards."""
    for name, kind in job_rig.RIG_KINDS.items():
        monkeypatch.setitem(KINDS, name, kind)
    monkeypatch.setattr(spawn, "RUNNER_COMMAND", [sys.executable, job_rig.HERE, "runner"])
    monkeypatch.setattr(spawn, "WORKER_COMMAND", [sys.executable, job_rig.HERE, "worker"])
    monkeypatch.setenv("RIG_IDLE_S", "0.3")
    monkeypatch.setenv("LORA_LOCAL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(hosts, "WATCH_S", 0.2)
    workspace = Workspace.open(tmp_path / "our workspace")
    yield workspace
    for process in processes_of(workspace):
        process.kill()
    until(lambda: processes_of(workspace) == [])


def processes_of(ws: Workspace, host: str | None = None) -> list[psutil.Process]:
    """The living processes of the workspace, of all computers or of one."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        mine = any(str(ws.root) in part for part in process.info["cmdline"] or ())
        if not mine or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        try:
            if host is None or process.environ().get("LORA_HOST") == host:
                found.append(process)
        except psutil.Error:
            continue
    return found


def begun(job: jobs.Job) -> int:
    until(lambda: (job.folder / "began").exists() and (job.folder / "began").read_text().endswith("\n"))
    return int((job.folder / "began").read_text().split()[0])


def kill_host(ws: Workspace, host: str) -> None:
    """All of its processes at once, as when its plug is pulled."""
    for process in processes_of(ws, host):
        process.kill()
    until(lambda: processes_of(ws, host) == [])


def test_two_hosts_share_a_workspace_and_leave_each_others_jobs_alone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_HOST", "attic")
    far = jobs.create(ws, "walk", "of the attic")
    begun(far)
    waiting = jobs.create(ws, "walk", "waits in the attic", start=False)
    monkeypatch.setenv("LORA_HOST", "cellar")
    monkeypatch.setattr(spawn, "_started", {})  # what a process of the other computer started
    near = jobs.create(ws, "walk", "of the cellar")
    begun(near)
    assert spawn.runner_alive(ws), "a second runner, while the first one works"
    assert {process.environ()["LORA_HOST"] for process in processes_of(ws)} == {"attic", "cellar"}
    shown = jobs.status(ws, far.id)
    assert (shown.state, shown.elsewhere) == ("running", "attic")
    with pytest.raises(JobError, match="at work"):
        hosts.take_over(ws, far.id, anyway=True)

    kill_host(ws, "attic")
    for _ in range(2):  # the runner of the cellar looks several times meanwhile
        sign = jobs.status(ws, near.id).updated
        until(lambda before=sign: jobs.status(ws, near.id).updated > before + 1)  # type: ignore[misc]  # a default binds it
    shown = jobs.status(ws, far.id)
    assert (shown.state, shown.elsewhere) == ("running", "attic"), "never taken for dead"
    assert shown.message.startswith("Running on attic. Last sign ")
    owner = liveness.read_owner(look.engine_lock(far.folder))
    assert owner is not None
    assert owner.host == "attic", "nobody restarted it"
    still = jobs.status(ws, waiting.id)
    if still.state == "queued":  # the attic's runner may have begun it before the plug was pulled
        assert still.elsewhere == "attic"

    with pytest.raises(JobError, match="last sign"):
        hosts.take_over(ws, far.id)
    hosts.take_over(ws, far.id, anyway=True)
    lost = jobs.status(ws, far.id)
    assert (lost.state, lost.elsewhere) == ("lost", None)
    (far.folder / "began").unlink()
    jobs.resume(ws, far.id)
    begun(far)
    running = jobs.status(ws, far.id)
    assert (running.state, running.attempt, running.elsewhere) == ("running", 2, None)
    for job in (near, far):
        (job.folder / "enough").touch()
        assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


def test_a_process_that_lives_on_at_the_old_computer_ends_and_leaves_the_job_to_the_new_one(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def at(host: str) -> None:
        monkeypatch.setenv("LORA_HOST", host)
        monkeypatch.setenv("LORA_LOCKS", "local")  # each has its own, and sees none of the other's
        monkeypatch.setenv("LORA_LOCAL_STATE", str(tmp_path / f"disk of {host}"))
        monkeypatch.setattr(spawn, "_started", {})

    at("attic")
    job = jobs.create(ws, "walk", "taken over")
    old = psutil.Process(begun(job))
    until(lambda: jobs.status(ws, job.id).saved is not None)
    old.suspend()  # cut off, as from where the other computer looks
    (job.folder / "began").unlink()

    at("cellar")
    hosts.take_over(ws, job.id, anyway=True)
    assert jobs.status(ws, job.id).state == "lost"
    jobs.resume(ws, job.id)
    new = begun(job)
    old.resume()
    until(lambda: not old.is_running() or old.status() == psutil.STATUS_ZOMBIE)
    said = (job.folder / "fenced.attic.log").read_text("utf-8")
    assert f"taken over by cellar. Process {old.pid} on attic" in said
    step = jobs.status(ws, job.id).step
    until(lambda: jobs.status(ws, job.id).step > step)
    now, owner = jobs.status(ws, job.id), liveness.read_owner(look.engine_lock(job.folder))
    assert (now.state, now.attempt, now.elsewhere) == ("running", 2, None)
    assert owner is not None
    assert (owner.host, owner.pid) == ("cellar", new)
    (job.folder / "enough").touch()
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"


def test_a_job_works_the_same_where_its_locks_are_on_the_own_disk(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_LOCKS", "local")
    job = jobs.create(ws, "walk", "on a network volume")
    pid = begun(job)
    assert jobs.status(ws, job.id).state == "running"
    assert list(ws.root.rglob("*.lock")) == []
    psutil.Process(pid).kill()
    assert jobs.wait(ws, job.id, PATIENCE_S).state in {"failed", "lost"}


APP_IN_A_TERMINAL = """
import os, signal, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # the leader of a session gets it as its terminal
for number in range(3):
    os.dup2(terminal, number)
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import job_rig
job_rig.install()
from pathlib import Path
from lora_core import jobs
from lora_core.workspace import Workspace
for number in (signal.SIGINT, signal.SIGHUP):  # whoever starts the tests may have made them deaf to it
    signal.signal(number, signal.SIG_DFL)
job = jobs.create(Workspace(Path(sys.argv[4])), "walk", "started from a terminal")
print("job", job.id, flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("how", ["ctrl-c", "closed"])
def test_a_terminal_that_gets_ctrl_c_or_is_closed_ends_the_app_and_no_job(ws: Workspace, how: str) -> None:
    main, side = os.openpty()
    command = [sys.executable, "-c", APP_IN_A_TERMINAL, os.ttyname(side), str(ROOT)]
    command += [str(Path(job_rig.HERE).parent), str(ws.root)]
    with subprocess.Popen(command, start_new_session=True, cwd=ROOT) as app:
        try:
            said = b""
            while b"job " not in said or not said.endswith(b"\n"):
                said += os.read(main, 1024)
            job = jobs.get(ws, said.split(b"job ")[1].split()[0].decode())
            pid = begun(job)
            assert os.getpgid(pid) != os.getpgid(app.pid)
            os.close(side)
            if how == "ctrl-c":
                os.write(main, b"\x03")
            else:
                os.close(main)
            ended = app.wait(PATIENCE_S)
            assert ended == -(signal.SIGINT if how == "ctrl-c" else signal.SIGHUP)
        finally:
            app.kill()
            if how == "ctrl-c":
                os.close(main)
    step = jobs.status(ws, job.id).step
    until(lambda: jobs.status(ws, job.id).step > step)
    assert jobs.status(ws, job.id).state == "running"
    (job.folder / "enough").touch()
    assert jobs.wait(ws, job.id, PATIENCE_S).state == "finished"
