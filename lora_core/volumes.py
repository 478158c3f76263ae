"""What the file system of a folder can do: whether locks and SQLite's WAL hold on it.

Covered: network volumes and synced folders known by their type or name; local disks tried with a
second process, once for each host and mount; where locks and indexes live instead. Not covered:
taking locks (see `lora_core.jobs.liveness`), opening databases (see `lora_core.datasets.database`).

A lock on a network volume may hold for one computer and not for the next, and a synced folder has
no locks between computers at all. There, locks and indexes live on the computer's own disk; what
must be known to every computer (who works on which job) stays in the workspace.
"""

import hashlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import psutil
from filelock import FileLock

from lora_core.errors import WorkspaceError
from lora_core.workspace import read_json, write_json

_NETWORK: Final = re.compile(
    "9p|afpfs|afs|beegfs|ceph|cifs|davfs|drvfs|gfs2|glusterfs|gpfs|lustre|macfuse|ncpfs|nfs4?|ocfs2|orangefs|"
    "osxfuse|prl_fs|smb[23]|smbfs|vboxsf|virtiofs|vmhgfs|webdav|wekafs"
)
_LOCAL_FUSE: Final = frozenset({"fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.encfs", "fuse.mergerfs"})
_SYNCED: Final = re.compile(
    r"(?P<service>dropbox|onedrive|google ?drive|my drive|icloud ?drive|com~apple~clouddocs|nextcloud)"
    r"([ -]+.*|\(.*)?",
    re.IGNORECASE,
)
_NAMES: Final = {
    "dropbox": "Dropbox",
    "onedrive": "OneDrive",
    "googledrive": "Google Drive",
    "mydrive": "Google Drive",
    "iclouddrive": "iCloud",
    "com~apple~clouddocs": "iCloud",
    "nextcloud": "Nextcloud",
}
_TRY_LIMIT_S: Final = 60.0
_RECHECK_S: Final = 60.0  # the number of a device that was taken away may come back for another one

_TRY: Final = """
import os, sqlite3, sys
lock, database = sys.argv[1:]
held = os.open(lock, os.O_RDWR)
try:
    if sys.platform == "win32":
        import msvcrt
        msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    locks = "no"
except OSError:
    locks = "yes"
wal = "no"
if database:
    try:
        db = sqlite3.connect(database, timeout=10, isolation_level=None)
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        (seen,) = db.execute("SELECT n FROM tried").fetchone()
        db.execute("UPDATE tried SET n = 2")
        db.close()
        wal = "yes" if (mode, seen) == ("wal", 1) else "no"
    except sqlite3.Error:
        pass
print(locks, wal)
"""
"""Run by a second process while the first has the lock and the database open."""


def here() -> str:
    """The name of this computer in what it writes down; `LORA_HOST` chooses another."""
    return os.environ.get("LORA_HOST") or socket.gethostname()


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A file system as one folder sees it."""

    mount: str
    """The folder where it begins."""
    source: str
    """What is mounted there: a device, or `server:/folder`."""
    type: str
    """As the system names it, such as `ext4` or `nfs4`."""
    within: str
    """Path of the folder inside `source`. With `source` it is the same through every mount."""
    kind: Literal["local", "network", "synced"] = "local"
    service: str = ""
    """Who synchronises the folder, such as `Dropbox`."""
    locks: bool = True
    """Locks hold between the processes of all computers that see it."""
    wal: bool = True
    """SQLite's WAL works on it."""


_known: dict[tuple[int, str, str], tuple[Volume, float]] = {}


def of(folder: Path) -> Volume:
    """What `folder` lies on, from memory where its mount is the same as before; then in 10 µs.

    A local disk is tried with a second process at its first look: about 0.1 s, once a computer.
    """
    try:
        device = folder.stat().st_dev
    except FileNotFoundError:
        folder = _existing(folder)
        device = folder.stat().st_dev
    key = (device, _service(str(folder)), os.environ.get("LORA_LOCKS", ""))
    known = _known.get(key)
    now = time.monotonic()
    if known is not None and now - known[1] < _RECHECK_S:
        return known[0]
    volume = named(folder)
    if known is not None and (known[0].mount, known[0].source) == (volume.mount, volume.source):
        volume = known[0]
    elif volume.kind == "local" and not os.environ.get("LORA_LOCKS"):
        volume = _tried(folder, volume, device)
    _known[key] = volume, now
    return volume


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


@lru_cache(maxsize=4096)
def _service(folder: str) -> str:
    for part in Path(folder).parts:
        if (match := _SYNCED.fullmatch(part)) is not None:
            return _NAMES[match["service"].casefold().replace(" ", "")]
    return ""


def named(folder: Path, *, mounts: str | None = None) -> Volume:
    """What can be known of the volume from names alone; `mounts` in the form of /proc/self/mountinfo."""
    folder = folder.resolve()
    chosen = os.environ.get("LORA_LOCKS", "")
    if sys.platform == "linux" or mounts is not None:
        mount, source, kind, within = _from_mountinfo(folder, mounts)
        network = _NETWORK.fullmatch(kind) is not None or (
            kind.startswith("fuse.") and kind not in _LOCAL_FUSE
        )
        network = network and not (kind == "9p" and mount == "/")  # the own disk of a sandbox
    else:
        mount, source, kind, within, network = _from_psutil(folder)
    service = _service(str(folder))
    if chosen == "local":
        network = True
    elif chosen == "workspace":
        network, service = False, ""
    trusted = not network and not service
    return Volume(
        mount=mount,
        source=source,
        type=kind,
        within=within,
        kind="network" if network else "synced" if service else "local",
        service=service,
        locks=trusted,
        wal=trusted,
    )


def _from_mountinfo(folder: Path, text: str | None) -> tuple[str, str, str, str]:
    if text is None:
        try:
            text = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            text = ""
    best = ("/", "unknown", "unknown", str(folder))
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        first, last = before.split(), after.split()
        if len(first) < 5 or len(last) < 2:
            continue
        root, mount = _unescaped(first[3]), _unescaped(first[4])
        if folder.is_relative_to(mount) and len(mount) >= len(best[0]):  # of two at one place the last counts
            rest = str(folder.relative_to(mount))
            within = "/".join(part for part in (root.strip("/"), rest if rest != "." else "") if part)
            best = (mount, _unescaped(last[1]), last[0], within)
    return best


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _from_psutil(folder: Path) -> tuple[str, str, str, str, bool]:
    best = (folder.anchor, folder.anchor, "unknown", str(folder), folder.anchor.startswith("\\\\"))
    for part in psutil.disk_partitions(all=True):
        if folder.is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(best[0]):
            rest = folder.relative_to(part.mountpoint).as_posix()
            network = _NETWORK.fullmatch(part.fstype.casefold()) is not None or "remote" in part.opts.split(
                ","
            )
            best = (part.mountpoint, part.device, part.fstype, rest, network)
    return best


def _tried(folder: Path, volume: Volume, device: int) -> Volume:
    """`volume` with what a trial on it showed, from this computer's memory if it was tried before."""
    memory = local_state() / "volumes.json"
    key = "|".join((here(), volume.mount, volume.source, volume.type, str(device)))
    try:
        tried = read_json(memory).get("tried")
    except (OSError, WorkspaceError):
        tried = None
    tried = tried if isinstance(tried, dict) else {}
    found = tried.get(key)
    if not (isinstance(found, list) and len(found) == 2 and all(isinstance(part, bool) for part in found)):
        answer = try_out(folder)
        if answer is None:
            return volume
        found = list(answer)
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_json(memory, {"format": 1, "tried": {**dict(list(tried.items())[-99:]), key: found}})
        except (OSError, WorkspaceError):
            pass  # only a memory; the next process tries again
    locks, wal = found
    return Volume(
        mount=volume.mount,
        source=volume.source,
        type=volume.type,
        within=volume.within,
        locks=locks,
        wal=wal,
    )


def try_out(folder: Path) -> tuple[bool, bool] | None:
    """Whether locks and the WAL hold in `folder` between two processes; None when it cannot be tried."""
    name = folder / f".volume-{uuid4().hex}"
    lock, database = name.with_suffix(".lock"), name.with_suffix(".sqlite")
    db: sqlite3.Connection | None = None
    try:
        with FileLock(lock, timeout=1):
            db = _open_wal(database)
            command = [sys.executable, "-I", "-S", "-c", _TRY, str(lock), str(database) if db else ""]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TRY_LIMIT_S)
            locks, wal = (word == "yes" for word in done.stdout.split())
            if db is not None:
                wal = wal and db.execute("SELECT n FROM tried").fetchone() == (2,)
        return locks, wal
    except NotImplementedError:
        return False, False  # the file system has no locks
    except (OSError, ValueError, sqlite3.Error, subprocess.SubprocessError):
        return None  # read-only, full, or no second process: nothing was learned
    finally:
        if db is not None:
            db.close()
        for left in folder.glob(f"{name.name}*"):
            left.unlink(missing_ok=True)


def _open_wal(path: Path) -> sqlite3.Connection | None:
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("CREATE TABLE tried (n)")
        db.execute("INSERT INTO tried VALUES (1)")
    except sqlite3.OperationalError as error:
        db.close()
        if error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}:
            raise
        return None
    if mode == "wal":
        return db
    db.close()
    return None


def untouched_s(folder: Path) -> float:
    """How long nothing was added to `folder`, by the one clock of its volume; 0 where that cannot be told."""
    try:
        changed = folder.stat().st_mtime
        with tempfile.TemporaryFile(dir=folder.parent) as now:
            return os.fstat(now.fileno()).st_mtime - changed
    except OSError:
        return 0.0


def local_state() -> Path:
    """This user's folder on this computer's own disk; `LORA_LOCAL_STATE` names another.

    The same for every process of the user, whoever started it. Where the home folder itself is on
    the network it is a folder for temporary files.
    """
    if chosen := os.environ.get("LORA_LOCAL_STATE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "lora-easy-trainer"
    else:  # noqa: RET505  mypy calls the rest unreachable without it
        within = "Library/Application Support" if sys.platform == "darwin" else ".local/state"
        state = home / within / "lora-easy-trainer"
        there = _existing(state)
        if named(there).kind == "local" and os.access(there, os.W_OK):
            return state
        # Not by TMPDIR: a service and a terminal may have different ones, and must find the same locks.
        return _private(Path("/var/tmp") / f"lora-easy-trainer-{os.getuid()}", os.getuid())  # noqa: S108  the owner is checked


def _private(path: Path, user: int) -> Path:
    """`path` as a folder of this user alone.

    Raises:
        WorkspaceError: somebody else has the folder of this name.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != user:
        raise WorkspaceError(
            "The locks of the workspace could not be made.",
            why=f"The home folder is on the network, and {path} belongs to another user.",
            fix="Set LORA_LOCAL_STATE to a folder of your own on this computer's disk.",
        )
    return path


def local_folder(folder: Path) -> Path:
    """The folder on this computer's own disk that stands in for `folder`, through every mount of it."""
    volume = named(folder)
    same = f"{volume.source.rstrip('/')}/{volume.within}".rstrip("/")
    if sys.platform == "win32":
        same = same.casefold()
    return (
        local_state() / "volumes" / hashlib.sha256(same.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    )


_stand_ins: dict[tuple[Path, str], Path] = {}


def lock_file(path: Path) -> Path:
    """Where the lock that is called `path` really lies: there, or on this computer's own disk."""
    if of(path.parent).locks:
        return path
    return _stand_in(path.parent) / path.name


@contextmanager
def locked(path: Path, *, timeout_s: float = -1) -> Iterator[None]:
    """Hold the lock that is called `path` against all other processes and threads of this computer.

    On a volume where locks hold it is held against other computers as well. Without `timeout_s` it waits.

    Raises:
        TimeoutError: somebody else held it for `timeout_s`.
        OSError: it could not be made.
    """
    with FileLock(lock_file(path), timeout=timeout_s):
        yield


def database_file(path: Path) -> Path:
    """Where the SQLite file that is called `path` really lies: there, or on this computer's own disk."""
    if of(path.parent).wal:
        return path
    return _stand_in(path.parent) / path.name


def _stand_in(folder: Path) -> Path:
    key = (folder, os.environ.get("LORA_LOCAL_STATE", ""))
    if (found := _stand_ins.get(key)) is None:
        found = _stand_ins[key] = local_folder(folder)
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found
