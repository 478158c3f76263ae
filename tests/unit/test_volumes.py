"""What a folder's file system is known to do, and where locks and indexes live where it does not do that."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_core import projects, volumes
from lora_core.datasets.index import index_file, open_index
from lora_core.errors import WorkspaceError
from lora_core.jobs import addresses, choices, liveness, places
from lora_core.projects.record import Project
from lora_core.volumes import Volume
from lora_core.workspace import Workspace

ROOT = Path(__file__).parents[2]
TMPFS = Path("/dev/shm")  # noqa: S108  looked at, and nothing is left in it
MOUNTS = """\
21 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw
30 21 0:40 / /mnt/nas rw,relatime shared:2 - nfs4 nas:/export rw,vers=4.2
31 21 0:40 /ws /srv/work rw,relatime shared:2 - nfs4 nas:/export rw,vers=4.2
32 21 0:43 / /srv/sub rw,relatime shared:2 - nfs4 nas:/export/ws rw,vers=4.2
33 21 0:41 / /mnt/my\\040share rw,relatime - cifs //server/share rw
34 21 0:42 / /mnt/far rw,nosuid - fuse.sshfs me@host:/data rw
35 21 0:44 / /mnt/c rw,noatime - 9p C:\\134 rw
36 21 0:45 / /fast rw - tmpfs tmpfs rw
37 21 8:17 / /mnt/usb rw - fuseblk /dev/sdb1 rw
38 21 0:46 / /over rw - fuse.fuse-overlayfs fuse-overlayfs rw
"""


@pytest.fixture(autouse=True)
def a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "local state"
    monkeypatch.setenv("LORA_LOCAL_STATE", str(state))
    monkeypatch.delenv("LORA_LOCKS", raising=False)
    monkeypatch.setattr(volumes, "_known", {})
    return state


@pytest.fixture
def on_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder counts as one on a network volume, in this process and in those that it starts."""
    monkeypatch.setenv("LORA_LOCKS", "local")


# --- what a volume is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "type", "kind"),
    [
        ("/home/me/ws", "ext4", "local"),
        ("/mnt/nas/ws", "nfs4", "network"),
        ("/mnt/my share/ws", "cifs", "network"),
        ("/mnt/far/ws", "fuse.sshfs", "network"),
        ("/mnt/c/Users/me", "9p", "network"),
        ("/fast/ws", "tmpfs", "local"),
        ("/mnt/usb/ws", "fuseblk", "local"),
        ("/over/ws", "fuse.fuse-overlayfs", "local"),
        ("/mnt/nasty", "ext4", "local"),
        ("/home/me/Dropbox/ws", "ext4", "synced"),
    ],
)
def test_a_volume_is_known_by_its_mount(folder: str, type: str, kind: str) -> None:  # noqa: A002  as its field
    volume = volumes.named(Path(folder), mounts=MOUNTS)
    assert (volume.type, volume.kind) == (type, kind)
    assert volume.locks == volume.wal == (kind == "local")


def test_the_own_disk_of_a_sandbox_is_local() -> None:
    assert volumes.named(Path("/ws"), mounts="1 0 0:1 / / rw - 9p none rw\n").kind == "local"


def test_a_list_of_mounts_that_is_rubbish_is_no_reason_to_fail() -> None:
    assert volumes.named(Path("/ws"), mounts="rubbish\n - \n1 2 3\n").kind == "local"


@pytest.mark.parametrize(
    ("folder", "service"),
    [
        ("/home/me/Dropbox/ws", "Dropbox"),
        ("/home/me/Dropbox (Personal)/ws", "Dropbox"),
        ("/home/me/OneDrive - Some Company/ws", "OneDrive"),
        ("/home/me/Library/CloudStorage/GoogleDrive-me@example.org/My Drive/ws", "Google Drive"),
        ("/home/me/Library/Mobile Documents/com~apple~CloudDocs/ws", "iCloud"),
        ("/home/me/iCloudDrive/ws", "iCloud"),
        ("/home/me/dropboxes/ws", ""),
        ("/home/me/my dropbox notes/ws", ""),
    ],
)
def test_a_synced_folder_is_known_by_its_name(folder: str, service: str) -> None:
    assert volumes.named(Path(folder), mounts=MOUNTS).service == service


def test_a_local_disk_is_tried_with_a_second_process(tmp_path: Path) -> None:
    assert volumes.try_out(tmp_path) == (True, True)
    assert list(tmp_path.glob(".volume*")) == [], "nothing is left behind"


@pytest.mark.skipif(not os.access(TMPFS, os.W_OK), reason="no tmpfs that this user may write to")
def test_a_tmpfs_holds_locks_and_the_wal() -> None:
    volume = volumes.of(TMPFS)
    assert (volume.type, volume.locks, volume.wal) == ("tmpfs", True, True)


def test_where_a_second_process_gets_the_lock_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that grants every lock: the first process holds another file's lock."""

    class Useless:
        def __init__(self, path: Path, timeout: float) -> None:
            self.path = path

        def __enter__(self) -> None:
            self.path.touch()

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(volumes, "FileLock", Useless)
    assert volumes.try_out(tmp_path) == (False, True)


def test_where_the_wal_is_refused_only_the_index_moves(
    tmp_path: Path, a_state_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "try_out", lambda _folder: (True, False))
    ws = Workspace.open(tmp_path / "ws")
    assert places.locks(ws) == ws.root
    assert index_file(ws.datasets).is_relative_to(a_state_of_its_own)
    assert "the indexes cannot be relied on" in places.said(ws)


def test_a_trial_is_remembered_for_host_and_mount_and_made_anew_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[Path] = []

    def tried(folder: Path) -> tuple[bool, bool]:
        trials.append(folder)
        return True, True

    def another_process() -> None:
        monkeypatch.setattr(volumes, "_known", {})

    monkeypatch.setattr(volumes, "try_out", tried)
    volumes.of(tmp_path)
    volumes.of(tmp_path)
    another_process()
    volumes.of(tmp_path)
    assert len(trials) == 1
    another_process()
    monkeypatch.setenv("LORA_HOST", "another")
    volumes.of(tmp_path)
    assert len(trials) == 2, "another computer learns by itself"
    another_process()
    monkeypatch.setattr(volumes, "_from_mountinfo", lambda *_: ("/elsewhere", "/dev/new", "ext4", "x"))
    monkeypatch.setattr(volumes, "_from_psutil", lambda *_: ("/elsewhere", "/dev/new", "ext4", "x", False))
    volumes.of(tmp_path)
    assert len(trials) == 3, "another mount is tried again"


def test_a_memory_that_is_rubbish_is_replaced(tmp_path: Path, a_state_of_its_own: Path) -> None:
    a_state_of_its_own.mkdir()
    (a_state_of_its_own / "volumes.json").write_text('{"tried": [1]}')
    assert volumes.of(tmp_path).locks
    assert '"format"' in (a_state_of_its_own / "volumes.json").read_text()


def test_a_folder_that_cannot_be_tried_counts_by_its_type(
    tmp_path: Path, a_state_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "try_out", lambda _folder: None)
    assert volumes.of(tmp_path).locks
    assert not a_state_of_its_own.exists(), "nothing was learned, so nothing is remembered"


# --- where locks and indexes live ---------------------------------------------------------------------


def test_locks_live_in_a_workspace_on_a_local_disk(tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path / "ws")
    assert places.locks(ws) == ws.root
    assert places.said(ws) == ""


def test_on_a_network_volume_locks_live_on_the_own_disk_and_the_app_says_so(
    tmp_path: Path, a_state_of_its_own: Path, on_a_network: None
) -> None:
    ws = Workspace.open(tmp_path / "ws")
    assert places.locks(ws).is_relative_to(a_state_of_its_own)
    assert "network volume" in places.said(ws)
    assert str(a_state_of_its_own) in places.said(ws)
    with liveness.Lock.acquire(ws.jobs / "engine.lock") as lock:
        liveness.write_owner(lock)
        assert liveness.probe(ws.jobs / "engine.lock")
        assert liveness.alive(ws.jobs / "engine.lock")
        assert lock.heal()
    assert not liveness.probe(ws.jobs / "engine.lock")
    left = [path.name for path in ws.jobs.iterdir()]
    assert left == ["engine.json"], "who works on it is told to all computers, in the workspace"


def test_the_same_folder_seen_through_several_mounts_has_its_locks_in_one_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = volumes.named
    monkeypatch.setattr(volumes, "named", lambda folder: named(folder, mounts=MOUNTS))
    seen = [volumes.local_folder(Path(text)) for text in ("/mnt/nas/ws", "/srv/work", "/srv/sub")]
    assert len(set(seen)) == 1
    assert volumes.local_folder(Path("/mnt/nas/other")) not in seen


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from lora_core.jobs import liveness, places
from lora_core.workspace import Workspace
ws = Workspace(Path(sys.argv[1]))
print(places.locks(ws))
print(liveness.probe(ws.root / "runner.lock"))
"""


def test_two_processes_agree_where_the_locks_are(tmp_path: Path, on_a_network: None) -> None:
    ws = Workspace.open(tmp_path / "ws")
    (tmp_path / "another way").symlink_to(ws.root, target_is_directory=True)
    with liveness.Lock.acquire(ws.root / "runner.lock"):
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path / "another way")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [str(places.locks(ws)), "True"]


def test_the_index_of_a_synced_folder_is_on_the_own_disk_and_its_journal_is_copied_beside_the_files(
    tmp_path: Path, a_state_of_its_own: Path
) -> None:
    folder = tmp_path / "Dropbox" / "cats"
    folder.mkdir(parents=True)
    with open_index(folder) as index:
        index.db.execute("CREATE TABLE mark (n)")
        index.db.execute("INSERT INTO journal (batch, name, at, state) VALUES (1, 'a.png', 0, 'done')")
    assert index_file(folder).is_relative_to(a_state_of_its_own)
    with open_index(folder):  # the first opening after an edit makes the copy
        pass
    assert [path.name for path in (folder / ".lora").iterdir()] == ["index.copy.sqlite"]
    index_file(folder).unlink()  # another computer has none yet
    with open_index(folder) as index:
        assert index.db.execute("SELECT name FROM sqlite_master WHERE name = 'mark'").fetchone() is not None


def test_a_folder_that_was_moved_into_a_synced_one_keeps_its_journal(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    with open_index(tmp_path / "cats") as index:
        index.db.execute("CREATE TABLE mark (n)")
    folder = tmp_path / "OneDrive" / "cats"
    folder.parent.mkdir()
    (tmp_path / "cats").rename(folder)
    with open_index(folder) as index:
        assert index.db.execute("SELECT name FROM sqlite_master WHERE name = 'mark'").fetchone() is not None


def test_a_home_on_the_network_is_no_place_for_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("the choice is made on Linux and macOS")
    far = Volume(mount="/home", source="nas:/home", type="nfs4", within="me", kind="network")
    monkeypatch.delenv("LORA_LOCAL_STATE")
    monkeypatch.setattr(volumes, "named", lambda _folder: far)
    assert str(os.getuid()) in volumes.local_state().name
    assert volumes.local_state().stat().st_mode & 0o077 == 0


def test_a_wal_that_cannot_be_opened_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def execute(self, _text: str) -> None:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
            raise error

        def close(self) -> None:
            return

    monkeypatch.setattr(volumes.sqlite3, "connect", lambda *_, **__: Refusing())
    assert volumes.try_out(tmp_path) == (True, False)


HOLD = """
import sys
from pathlib import Path
from lora_core.volumes import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def locks_of(workspace: Workspace) -> dict[str, tuple[Path, Callable[[], object]]]:
    """By what they guard: the lock as it is called, and something that needs it."""
    return {
        "a project": (
            workspace.projects / ".mine.lock",
            lambda: projects.save(workspace, Project(name="mine")),
        ),
        "the choices": (workspace.runner / "settings.lock", lambda: choices.keep_awake(workspace, on=False)),
        "the addresses": (
            workspace.root / ".access" / "notify.lock",
            lambda: addresses.keep(workspace, "ntfy://a", "ntfy"),
        ),
    }


@pytest.mark.usefixtures("on_a_network")
@pytest.mark.parametrize("what", ["a project", "the choices", "the addresses"])
def test_the_locks_of_all_that_is_kept_hold_on_a_network_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    workspace = Workspace.open(tmp_path / "ws")
    monkeypatch.setattr(addresses, "_into_keyring", lambda _user, _url: False)
    monkeypatch.setattr(choices, "_LOCK_S", 0.1)
    monkeypatch.setattr(projects.files, "_LOCK_WAIT_S", 0.1)
    monkeypatch.setattr(addresses, "KEYRING_WAIT_S", 0.05)
    path, write = locks_of(workspace)[what]
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(WorkspaceError, match="Another"):
            write()
        other.stdin.close()
        assert other.wait(60) == 0
    write()
    assert list(workspace.root.rglob("*.lock")) == []
