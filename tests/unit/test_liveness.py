"""Locks: who holds one, who cannot fake it, and when an owner counts as dead."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_core.jobs import liveness
from lora_core.jobs.liveness import Lock, Owner, alive, probe, process_start, read_owner, write_owner

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from lora_core.jobs.liveness import Lock, write_owner
lock = Lock.acquire(Path(sys.argv[1]))
write_owner(lock, attempt=3)
print("held", flush=True)
sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from lora_core.jobs.liveness import Lock
lock = Lock.acquire(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    while True:
        time.sleep(1)
print(child, flush=True)
sys.stdin.read()
"""


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout_s:g} s"
        time.sleep(0.005)


def start(code: str, lock: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock `engine.lock`."""
    with start(HOLD, tmp_path / "engine.lock") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_an_owner_is_alive_until_it_is_killed(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    path = tmp_path / "engine.lock"
    assert alive(path)
    owner.kill()
    owner.wait()
    assert not alive(path)


def test_nobody_is_alive_where_there_is_no_lock_file(tmp_path: Path) -> None:
    assert not alive(tmp_path / "engine.lock")
    assert not (tmp_path / "engine.lock").exists(), "a look makes nothing"


def test_an_owner_writes_who_it_is(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    who = read_owner(tmp_path / "engine.lock")
    assert who is not None
    assert (who.pid, who.about["attempt"], who.lives()) == (owner.pid, 3, True)


def test_a_second_owner_is_refused_after_its_time(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(TimeoutError):
        Lock.acquire(tmp_path / "engine.lock", timeout_s=0.1)


def test_a_waiting_owner_gets_the_lock_when_the_first_dies(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    threading.Timer(0.1, owner.kill).start()
    with Lock.acquire(tmp_path / "engine.lock", timeout_s=10):
        assert probe(tmp_path / "engine.lock")


def test_many_looks_at_once_neither_refuse_an_owner_nor_invent_one(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    path.touch()
    invented: list[bool] = []
    done = threading.Event()

    def keep_looking() -> None:
        while not done.is_set():
            invented.append(alive(path))

    threads = [threading.Thread(target=keep_looking) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(invented) > 12)
    done.set()
    for thread in threads:
        thread.join()
    assert not any(invented), "a look saw another look and took it for an owner"

    done.clear()
    lookers = [
        threading.Thread(target=lambda: [probe(path) for _ in iter(done.is_set, True)]) for _ in range(4)
    ]
    for thread in lookers:
        thread.start()
    try:
        for _ in range(20):
            Lock.acquire(path, timeout_s=5).release()
    finally:
        done.set()
        for thread in lookers:
            thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_of_a_dead_owner_does_not_keep_it_alive(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    with start(HOLD_AND_FORK, path) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert alive(path)
            process.kill()
            process.wait()
            assert process_start(child) is not None, "the child is there, as a loader worker would be"
            assert not alive(path)
        finally:
            os.kill(child, signal.SIGKILL)


def _probe_in_child(path: str, answers: "multiprocessing.Queue[bool]") -> None:
    answers.put(probe(Path(path)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_leaves_the_lock_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    context = multiprocessing.get_context("fork")
    with Lock.acquire(path):
        answers: multiprocessing.Queue[bool] = context.Queue()
        child = context.Process(target=_probe_in_child, args=(str(path), answers))
        child.start()
        assert answers.get(timeout=10)
        child.join(10)
        assert probe(path), "the end of the child did not end the owner's lock"
    assert not probe(path)


def test_a_started_program_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    lock = Lock.acquire(path)
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        lock.release()
        assert not probe(path)
        child.kill()


def test_a_recycled_process_id_fakes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    with Lock.acquire(path) as lock:
        write_owner(lock)
    record = json.loads((tmp_path / "engine.json").read_text())
    assert record["pid"] == os.getpid()
    record["started"] = record["started"][:-1] + ("1" if record["started"][-1] != "1" else "2")
    (tmp_path / "engine.json").write_text(json.dumps(record))
    assert not alive(path)


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert process.pid
    until(lambda: process_start(process.pid) is None)
    assert process.returncode is None, "nobody has waited for it, so it is a zombie"
    process.wait()


def test_the_owner_counts_as_alive_when_its_lock_file_was_removed_and_takes_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    with Lock.acquire(path) as lock:
        write_owner(lock)
        path.unlink()
        assert not probe(path)
        assert alive(path)
        assert lock.heal()
        assert probe(path)


def test_a_lock_that_another_took_meanwhile_is_not_healed(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    with Lock.acquire(tmp_path / "mine.lock") as lock:
        lock.path = tmp_path / "engine.lock"  # as if ours had been replaced by that one
        assert not lock.heal()


def test_an_owner_of_before_a_restart_is_known_as_such() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux names its boots")
    start_of_this = process_start(os.getpid())
    assert start_of_this is not None
    here = liveness.socket.gethostname()
    old = "00000000-0000-0000-0000-000000000000:" + start_of_this.partition(":")[2]
    assert Owner(pid=os.getpid(), started=old, host=here, about={}).from_before_restart()
    assert not Owner(pid=os.getpid(), started=start_of_this, host=here, about={}).from_before_restart()
    assert not Owner(pid=os.getpid(), started=old, host=here, about={}).lives()


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "\x00\xff"])
def test_rubbish_about_an_owner_is_no_owner(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / "engine.json").write_text(rubbish)
    assert read_owner(tmp_path / "engine.lock") is None
