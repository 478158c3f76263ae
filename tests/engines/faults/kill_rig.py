"""A training on the demo with the app beside it, and the processes of it that may be killed.

Covered: starting them, killing one or all of them at a step or inside a save, what must hold afterwards. Not
covered: which kills are done (see test_kills.py).
"""

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import psutil
from app_server import AppServer

from lora_core import jobs, runs
from lora_core.demo.recipe import create_demo
from lora_core.jobs import liveness, look, spawn
from lora_core.loras import check_sound
from lora_core.settings import with_values
from lora_core.workspace import Workspace

STEPS: Final = 48
SAVE_EVERY: Final = 4
TRUE_WITHIN_S: Final = 5.0
"""What we promise: states are true within this time of the next look."""
PATIENCE_S: Final = 240.0
"""For a start of torch on a machine that is busy with other things."""

Target = Literal["app", "runner", "engine", "all"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: who, and when."""

    target: Target
    step: int
    """Not before the run has done this step."""
    in_save: bool
    """Wait for the next save after it, and kill while it is being written."""

    def __str__(self) -> str:
        return f"{self.target} at step {self.step}{' in a save' if self.in_save else ''}"


def kills(seed: int, count: int) -> list[Kill]:
    """`count` kills in the order of their steps; all targets come up, half of them inside a save."""
    drawn = random.Random(seed)  # noqa: S311  kills that can be repeated, no secrets
    targets = [TARGETS[number % len(TARGETS)] for number in range(count)]
    drawn.shuffle(targets)
    steps = sorted(drawn.sample(range(1, STEPS - SAVE_EVERY), count))
    return [
        Kill(target, step, in_save=drawn.random() < 0.5) for target, step in zip(targets, steps, strict=True)
    ]


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S, every_s: float = 0.01) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s"
        time.sleep(every_s)


def processes_of(root: Path) -> list[psutil.Process]:
    """All living processes that have the workspace in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        mine = any(str(root) in part for part in process.info["cmdline"] or ())
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def kill(pid: int) -> None:
    """SIGKILL, and wait until the system has taken the process down."""
    try:
        process = psutil.Process(pid)
        process.kill()
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return


@dataclass
class Training:
    """A run of the demo in a workspace that an app has open."""

    ws: Workspace
    app: AppServer
    job: jobs.Job
    done: list[str] = field(default_factory=list)
    """What each kill met, for the report."""

    @classmethod
    def start(cls, folder: Path) -> "Training":
        ws = Workspace.open(folder / "workspace")
        app = AppServer(workspace=ws.root, log=folder / "app.log")
        app.start()
        run = with_values(
            create_demo(ws),
            {
                "max_train_steps": STEPS,
                "save_every_n_steps": SAVE_EVERY,
                "save_state": True,
                "save_last_n_steps_state": 2 * SAVE_EVERY,
                "sample_every_n_steps": None,
                "sample_at_first": False,
            },
        )
        return cls(ws, app, runs.start_run(ws, run))

    def until_finished(self) -> jobs.Status:
        status = jobs.wait(self.ws, self.job.id, PATIENCE_S)
        assert status.state == "finished", "\n".join(jobs.log_tail(self.ws, self.job.id))
        return status

    def losses(self) -> list[tuple[int, float]]:
        curve = runs.read_curve(self.job.folder)
        return list(zip(curve.steps, curve.loss, strict=True))

    def suffer(self, wanted: Kill) -> None:
        """Wait for the moment, kill, and see that everything that is told is true; then let it go on."""
        self._wait_for(wanted)
        engine = liveness.read_owner(look.engine_lock(self.job.folder))
        runner = liveness.read_owner(spawn.runner_lock(self.ws))
        assert engine is not None
        at_step = look.last_step(self.job.folder)
        for name in ("app", "runner", "engine") if wanted.target == "all" else (wanted.target,):
            if name == "app":
                self.app.kill()
            elif name == "engine":
                kill(engine.pid)
            elif runner is not None and runner.lives():
                kill(runner.pid)
        half = [path.name for path in self.job.folder.glob("states/.*")]
        self.done.append(f"{wanted}: killed after step {at_step}, {len(half)} half-written states")
        self._is_true(wanted, engine)
        self.no_file_is_broken()
        self._go_on(wanted)

    def _wait_for(self, wanted: Kill) -> None:
        """Wait for the moment of the kill; the run must not have ended before it."""

        def now() -> bool:
            if look.last_step(self.job.folder) < wanted.step:
                return False
            return not wanted.in_save or any(self.job.folder.glob("states/.*.part"))

        until(now, every_s=0.001)
        assert not jobs.status(self.ws, self.job.id).ended, f"{wanted} came too late"

    def _is_true(self, wanted: Kill, engine: liveness.Owner) -> None:
        """Within five seconds every state is what it is: nothing dead runs, nothing alive is lost.

        The cause is told by a new process, which also takes the place of a dead runner, in its own time.
        """
        if wanted.target in {"engine", "all"}:
            until(lambda: not jobs.status(self.ws, self.job.id).active, TRUE_WITHIN_S)
            status = jobs.wait(self.ws, self.job.id, PATIENCE_S)
            assert status.state in {"failed", "lost"}
            assert status.end is not None
            assert status.end.cause
            assert "from step" in status.end.fix or "from the beginning" in status.end.fix
        else:
            status = jobs.status(self.ws, self.job.id)
            alive = engine.lives()
            assert status.active or not alive, f"{status.state}, and its process lives"
            until(lambda: spawn.runner_alive(self.ws) or not engine.lives())

    def no_file_is_broken(self) -> None:
        """Whatever claims to be complete is: each state by its hashes, each LoRA by all that it holds."""
        folder = self.job.folder
        for state in jobs.states(self.ws, self.job.id):
            try:
                whole = _is_whole(state.path)
            except FileNotFoundError:  # old, and removed just now by the run that goes on
                assert state.name not in {left.name for left in jobs.states(self.ws, self.job.id)}
            else:
                assert whole, state.name
        for file in (*folder.glob("checkpoints/*.safetensors"), *self.ws.loras.glob("*.safetensors")):
            check_sound(file)
        json.loads((folder / "status.json").read_text("utf-8"))
        json.loads((folder / "job.json").read_text("utf-8"))

    def _go_on(self, wanted: Kill) -> None:
        if wanted.target in {"app", "all"}:
            with self._standing_still():
                self.app.start()
        assert [job.id for job in jobs.jobs(self.ws)] == [self.job.id], "a run was lost"
        if jobs.status(self.ws, self.job.id).resumable:
            jobs.resume(self.ws, self.job.id)

    @contextmanager
    def _standing_still(self) -> Iterator[None]:
        """The engine, if it lives, stands still, so that the run is not over before its next kill is due."""
        owner = liveness.read_owner(look.engine_lock(self.job.folder))
        process = psutil.Process(owner.pid) if owner is not None and owner.lives() else None
        if process is not None:
            process.suspend()
        try:
            yield
        finally:
            if process is not None:
                process.resume()

    def close(self) -> None:
        """End the app; everything else leaves by itself."""
        if jobs.status(self.ws, self.job.id).active:
            jobs.stop(self.ws, self.job.id, force=True)
        self.app.stop()
        until(lambda: processes_of(self.ws.root) == [], every_s=0.2)


def _is_whole(state: Path) -> bool:
    record = json.loads((state / "state.json").read_text("utf-8"))
    found = {name: (state / name).read_bytes() for name in record["files"]}
    return all(
        (len(data), hashlib.sha256(data).hexdigest())
        == (record["files"][name]["bytes"], record["files"][name]["sha256"])
        for name, data in found.items()
    )


def posix() -> bool:
    return os.name == "posix"
