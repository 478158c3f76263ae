"""Starting the runner and the processes of jobs, each detached from whoever starts it.

Covered: their command lines and environment, starting a runner when there is none, waking the
one there is. Not covered: what they do (runner.py, worker.py).
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import psutil

from lora_core.errors import JobError
from lora_core.jobs import hosts, liveness, platform
from lora_core.workspace import APP_ROOT, Workspace

RUNNER_COMMAND: list[str] = [sys.executable, "-m", "lora_core.jobs.runner"]
"""Gets the workspace's folder behind it."""
WORKER_COMMAND: list[str] = [sys.executable, "-m", "lora_core.jobs.worker"]
"""Gets the job's folder behind it."""

LOG_LIMIT_BYTES: Final = 1_000_000
"""Of what the runner and the processes that follow an end print."""
_AGAIN_S: Final = 3.0  # a runner that cannot start is not tried at every look of a page

_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_OFFLINE_MARK: Final = "LORA_OFFLINE_FOR_THIS_JOB"
_kept: dict[str, str] = {}

_started: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
"""The newest runner that this process started for a workspace, and when."""


def runner_lock(workspace: Workspace) -> Path:
    """Each computer has a runner of its own, which looks after the jobs of that computer."""
    return hosts.own(workspace.runner / "runner.lock")


def wake_folder(workspace: Workspace) -> Path:
    """The runner watches it; any change in it means: look at the jobs now."""
    return hosts.own(workspace.runner / "wake")


def wake(workspace: Workspace) -> None:
    """Tell the runner to look now. Without it the runner looks once a second anyway."""
    try:
        (wake_folder(workspace) / "now").touch()
    except OSError:
        return  # a full or read-only disk: the second's look finds the change


def runner_alive(workspace: Workspace) -> bool:
    """True when a runner supervises this workspace."""
    return liveness.probe(runner_lock(workspace))


def ensure_runner(workspace: Workspace) -> bool:
    """See to it that a runner supervises this workspace; True when one was started.

    Call it after writing a job or a request. A runner that leaves gives its lock back first and
    looks at the jobs once more, so whoever finds the lock held may rely on being seen.

    Raises:
        JobError: no runner could be started.
    """
    if runner_alive(workspace):
        wake(workspace)
        return False
    if _still_coming(workspace):
        return False
    try:
        wake_folder(workspace).mkdir(parents=True, exist_ok=True)
        with runner_log(workspace).open("ab") as log:
            child = detached([*RUNNER_COMMAND, str(workspace.root)], log, {})
    except OSError as error:
        raise JobError(
            "The jobs are not supervised now, so nothing that waits is started.",
            why=f"The process for it could not be started: {error.strerror or error}.",
            fix="Free some memory and disk space. Then open the app again; nothing is lost.",
        ) from error
    _started[workspace.root] = (child, time.monotonic())
    # It outlives us or leaves before us; only somebody who waits keeps it from becoming a zombie.
    threading.Thread(target=child.wait, name="waits for the runner", daemon=True).start()
    return True


def _still_coming(workspace: Workspace) -> bool:
    """True when a runner that this process started has not had the time to take its lock."""
    child, started_at = _started.get(workspace.root, (None, 0.0))
    if child is None or time.monotonic() - started_at > _AGAIN_S:
        return False
    if child.returncode is not None:  # set by the thread that waits
        return child.returncode > 0  # it could not start; again in a few seconds
    owner = liveness.read_owner(runner_lock(workspace))
    # One that had the lock and gave it back is leaving, and has looked for the last time.
    return owner is None or owner.pid != child.pid


def runner_log(workspace: Workspace) -> Path:
    """What this computer's runner prints; it is put aside and begun anew at `LOG_LIMIT_BYTES`."""
    return hosts.own(workspace.runner / "runner.log")


def detached(command: list[str], log: IO[bytes], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, without a terminal, printing into `log`."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=APP_ROOT,  # so that -m finds the package, wherever the app was started
        env={**_environment(), **platform.utf8(), **extra},
        close_fds=True,
        **platform.detach_options(),
    )


def keep_environment() -> None:
    """Pass the environment as it is now to whatever this process starts.

    For workers: what a trainer sets for itself must not reach the runner that it may have to
    start at a save, and through that all later trainings.
    """
    _kept.clear()
    _kept.update(os.environ)


def _environment() -> dict[str, str]:
    # The token that opens the app is no business of a training or of what it loads.
    dropped = {"LORA_TOKEN", _OFFLINE_MARK}
    chosen = _kept or os.environ
    if _OFFLINE_MARK in chosen:
        dropped |= set(_OFFLINE)  # ours for one job, not the user's own
    return {name: value for name, value in chosen.items() if name not in dropped}


def start_worker(folder: Path, *, online: bool) -> subprocess.Popen[bytes]:
    """Start the process that does the job in `folder`.

    Raises:
        OSError: it could not be started, or its log could not be opened.
    """
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    if not online and not all(os.environ.get(name) for name in _OFFLINE):
        quiet |= dict.fromkeys((*_OFFLINE, _OFFLINE_MARK), "1")
    with (folder / "train.log").open("ab") as log:
        return detached([*WORKER_COMMAND, str(folder)], log, quiet)


def worker_lives(folder: Path) -> bool:
    """True when the process of the job in `folder` is there, whoever started it. Looks at all: 20 ms."""
    command = [*WORKER_COMMAND[1:], str(folder)]
    return any(
        process.info["cmdline"][1:] == command
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"]
    )
