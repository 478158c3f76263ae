"""Locks: who holds one, who cannot fake it, and when an owner counts as dead."""

import json
import multiprocessing
import os
import shutil
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
    print(os.getpid(), flush=True)  # by the child: a fork lets go of the lock when it first runs
    while True:
        time.sleep(1)
sys.stdin.read()
"""


def until(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
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
    with Lock.acquire(tmp_path / "engine.lock", timeout_s=60):
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
            Lock.acquire(path, timeout_s=60).release()
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
        assert answers.get(timeout=120)
        child.join(120)
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


def test_an_owner_works_in_its_own_folder_and_not_in_a_copy_of_it(tmp_path: Path) -> None:
    folder, copy, moved = tmp_path / "job", tmp_path / "copy", tmp_path / "moved"
    folder.mkdir()
    with start(HOLD, folder / "engine.lock") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        shutil.copytree(folder, copy)
        assert alive(folder / "engine.lock")
        assert not alive(copy / "engine.lock"), "else a stop of the copy would end the work of the other"
        told = read_owner(copy / "engine.lock")
        assert told is not None
        assert not told.lives()
        folder.rename(moved)
        (moved / "engine.lock").unlink()
        assert alive(moved / "engine.lock"), "a folder that was moved is still its own"
        process.kill()


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
    here = liveness.here()
    old = "00000000-0000-0000-0000-000000000000:" + start_of_this.partition(":")[2]
    assert Owner(pid=os.getpid(), started=old, host=here, about={}).from_before_restart()
    assert not Owner(pid=os.getpid(), started=start_of_this, host=here, about={}).from_before_restart()
    assert not Owner(pid=os.getpid(), started=old, host=here, about={}).lives()


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}', "\x00\xff"])
def test_rubbish_about_an_owner_is_no_owner(tmp_path: Path, rubbish: str) -> None:
    (tmp_path / "engine.json").write_text(rubbish)
    assert read_owner(tmp_path / "engine.lock") is None


# --- what may be in the way -------------------------------------------------------------------------

HOLD_AND_START = """
import subprocess, sys
from pathlib import Path
from lora_core.jobs.liveness import Lock, write_owner
lock = Lock.acquire(Path(sys.argv[1]))
write_owner(lock, attempt=1)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
print(child.pid, flush=True)
sys.stdin.read()
"""
HOLD_IN_LOADER = """
import multiprocessing, sys, time
from pathlib import Path
from lora_core.jobs.liveness import Lock, write_owner
if __name__ == "__main__":
    lock = Lock.acquire(Path(sys.argv[1]))
    write_owner(lock, attempt=1)
    workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    print(*(worker.pid for worker in workers), flush=True)
    sys.stdin.read()
"""
LOOK_ON = """
import sys
from pathlib import Path
from lora_core.jobs.liveness import alive, probe
path, stop = Path(sys.argv[1]), Path(sys.argv[1] + ".stop")
print("looking", flush=True)
looks = 0
while not stop.exists():
    probe(path)
    looks += 1
print(looks, alive(path), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("code", [HOLD_AND_START, HOLD_IN_LOADER], ids=["by exec", "by fork"])
def test_living_workers_of_a_dead_engine_do_not_keep_it_alive(tmp_path: Path, code: str) -> None:
    path = tmp_path / "engine.lock"
    with start(code, path) as process:
        assert process.stdout is not None
        children = [int(word) for word in process.stdout.readline().split()]
        try:
            assert alive(path)
            process.kill()
            process.wait()
            assert all(process_start(child) is not None for child in children), "as loader workers would be"
            assert not alive(path)
            Lock.acquire(path, timeout_s=60).release()
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_eight_processes_that_look_all_the_time_do_not_refuse_an_owner(tmp_path: Path) -> None:
    path, stop = tmp_path / "engine.lock", tmp_path / "engine.lock.stop"
    path.touch()
    lookers = [start(LOOK_ON, path) for _ in range(8)]
    try:
        for looker in lookers:
            assert looker.stdout is not None
            assert looker.stdout.readline() == "looking\n"
        for _ in range(5):
            with Lock.acquire(path, timeout_s=60):
                assert probe(path)
        with Lock.acquire(path, timeout_s=60) as lock:
            write_owner(lock)
            stop.touch()
            told = [looker.communicate(timeout=120)[0].split() for looker in lookers]
        assert all(alive == "True" for _looks, alive in told)
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()
    (tmp_path / "engine.json").unlink()
    assert not alive(path)


@pytest.mark.skipif(os.name != "posix", reason="Windows does not replace a file that is open")
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff rubbish", b"x" * 100_000], ids=["empty", "bytes", "long"]
)
def test_a_lock_file_that_is_replaced_by_rubbish_neither_kills_an_owner_nor_invents_one(
    tmp_path: Path, owner: subprocess.Popen[str], content: bytes
) -> None:
    path = tmp_path / "engine.lock"
    (tmp_path / "new").write_bytes(content)
    (tmp_path / "new").replace(path)
    assert not probe(path)
    assert alive(path), "the process that wrote itself down still runs"
    owner.kill()
    owner.wait()
    assert not alive(path)
    Lock.acquire(path, timeout_s=60).release()
    assert path.read_bytes() == content, "a lock writes nothing into its file"


def test_rubbish_written_into_a_held_lock_file_changes_nothing(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    path = tmp_path / "engine.lock"
    path.write_bytes(b"\x00 rubbish")
    assert probe(path)
    (tmp_path / "engine.json").write_bytes(b"\xff\x00{{{")
    assert alive(path)
    owner.kill()
    owner.wait()
    assert not alive(path)


def test_a_removed_record_of_the_owner_changes_nothing_while_the_lock_is_held(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    (tmp_path / "engine.json").unlink()
    assert alive(tmp_path / "engine.lock")


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about processes")
def test_the_zombie_of_an_owner_whose_lock_file_is_gone_is_dead(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    path = tmp_path / "engine.lock"
    path.unlink()
    assert alive(path)
    os.kill(owner.pid, signal.SIGKILL)
    until(lambda: process_start(owner.pid) is None)
    assert owner.returncode is None, "nobody has waited for it, so it is a zombie"
    assert Path(f"/proc/{owner.pid}").exists()
    assert not alive(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells about processes")
def test_a_living_process_with_the_id_of_a_dead_owner_fakes_nothing(tmp_path: Path) -> None:
    """The id is in use again, by a process that began at another time."""
    path = tmp_path / "engine.lock"
    with start("print('there', flush=True); input()", path) as other:
        assert other.stdout is not None
        other.stdout.readline()
        mine, its = process_start(os.getpid()), process_start(other.pid)
        assert mine is not None
        assert its is not None
        assert mine != its
        record = {"format": 1, "pid": other.pid, "host": liveness.here(), "attempt": 1}
        (tmp_path / "engine.json").write_text(json.dumps({**record, "started": its}))
        assert alive(path), "by the right time of its start it is the owner"
        (tmp_path / "engine.json").write_text(json.dumps({**record, "started": mine}))
        assert not alive(path)
        other.kill()


def test_an_owner_on_another_computer_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.lock"
    with Lock.acquire(path) as lock:
        write_owner(lock)
    assert alive(path)
    monkeypatch.setenv("LORA_HOST", "another")
    assert not alive(path), "its process id means nothing on this computer"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every file")
def test_a_lock_file_of_another_user_is_no_reason_to_fail(tmp_path: Path) -> None:
    path = tmp_path / "engine.lock"
    path.touch(mode=0o000)
    assert not alive(path)
