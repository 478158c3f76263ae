"""The virtual environment: made once, brought up to date, recognised when it is only half made.

Covered: one stamp file that says what the environment was made from and whether the making came to its end;
a lock, so that two starts do not build at once; room on the disk before anything is fetched.

Not covered: an environment of the user's own making. It is never changed and never deleted: the app runs in
it with `streamlit run Home.py`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from launcher.words import SetupError

STAMP_NAME: Final = "lora-env.json"
STAMP_FORMAT: Final = 1

# `changing` while packages are being put in place: a kill then leaves parts of packages, and the whole is
# made anew. `begun` between those times: what is there is sound, and the next start goes on from it.
State = Literal["begun", "changing", "ready"]
Condition = Literal["absent", "foreign", "half made", "unusable", "outdated", "ready"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What an environment is made from; two equal recipes give the same environment."""

    files: tuple[Path, ...]
    """Requirement and constraint files; their contents count, not their dates."""
    build: str
    """The torch build that was chosen for the machine."""

    def key(self) -> str:
        """A hash of everything that decides what is installed."""
        digest = hashlib.sha256(f"{STAMP_FORMAT} {sys.version_info[:2]} {self.build}".encode())
        for file in self.files:
            digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()


class Environment:
    """The folder of one virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stamp_file = folder / STAMP_NAME

    @property
    def python(self) -> Path:
        """The interpreter inside."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def condition(self, recipe: Recipe) -> Condition:
        """What is there, seen without changing anything. Takes about 50 ms."""
        try:
            if not self.folder.exists() or not any(self.folder.iterdir()):
                return "absent"
        except OSError as error:  # it is a file, or it may not be looked into
            raise _not_writable(self.folder, error) from error
        stamp = self._stamp()
        if stamp is None:
            return "foreign"
        if stamp.get("state") in (None, "changing"):
            return "half made"
        if self._python_version() != sys.version_info[:2]:
            return "unusable"
        keys = stamp.get("keys")
        return "ready" if isinstance(keys, list) and recipe.key() in keys else "outdated"

    def _stamp(self) -> dict[str, object] | None:
        try:
            stamp = json.loads(self.stamp_file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:  # cut off in the middle of a line: by whoever killed the making of it
            return {"state": "changing"}
        return stamp if isinstance(stamp, dict) else {"state": "changing"}

    def _python_version(self) -> tuple[int, int] | None:
        ask = "import sys; print(*sys.version_info[:2])"
        try:
            answer = subprocess.run(
                [self.python, "-I", "-c", ask], capture_output=True, text=True, check=True
            )
            major, minor = answer.stdout.split()
        except (OSError, subprocess.SubprocessError, ValueError):
            return None  # the Python it was made with is gone
        return int(major), int(minor)

    def mark(self, state: State, recipes: Sequence[Recipe] = ()) -> None:
        """Write down how far the making is. `recipes`: what it is ready for."""
        stamp = {"format": STAMP_FORMAT, "state": state, "keys": [recipe.key() for recipe in recipes]}
        part = self.stamp_file.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(stamp, indent=1) + "\n", "utf-8")
            part.replace(self.stamp_file)
        except OSError as error:
            raise _not_writable(self.folder, error) from error

    def finish(self, recipes: Sequence[Recipe]) -> None:
        """The last step: clear the scratch folder and mark the environment as ready for these recipes."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        self.mark("ready", recipes)

    def remove(self) -> None:
        """Delete the environment, and only one with our stamp: a mistyped --env must cost nobody a folder."""
        if self._stamp() is None:
            raise foreign(self.folder)
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise _not_writable(self.folder, error) from error

    def create(self) -> None:
        """Make the empty virtual environment. Raises SetupError where the venv module is missing."""
        check_venv_module()
        self.mark("changing")
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--prompt", "lora", self.folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode == 0:
            self.mark("begun")
            return
        if "ensurepip" in made.stdout + made.stderr:
            raise _no_venv_module()
        last = (made.stderr or made.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise SetupError(
            "The environment could not be made.",
            why=f"Python's venv module ended with an error: {last[0]}",
            fix="Name another folder with --env PATH, or install Python 3.13 anew. Then start again.",
        )


def site_packages(folder: Path) -> Path | None:
    """Where the packages of the environment in `folder` lie; None before there is one."""
    found = (*folder.glob("lib/python3*/site-packages"), *folder.glob("Lib/site-packages"))
    return next(iter(found), None)


def check_venv_module() -> None:
    """Debian and Ubuntu split venv from Python; say so before a folder is made."""
    try:
        import ensurepip  # noqa: F401 - only whether it is there
        import venv  # noqa: F401 - the same
    except ImportError:
        raise _no_venv_module() from None


def _no_venv_module() -> SetupError:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return SetupError(
        "The environment could not be made.",
        why="This Python comes without its venv module.",
        fix=f"On Debian and Ubuntu run: sudo apt install python{version}-venv - and start again. "
        "Elsewhere, install Python from python.org.",
    )


def foreign(folder: Path) -> SetupError:
    return SetupError(
        f"The folder {folder} was left as it is.",
        why="It is not empty, and this program did not make it.",
        fix="Name another folder with --env PATH, or move this one away. "
        "To run the app in an environment of your own: streamlit run Home.py",
    )


def _not_writable(folder: Path, error: OSError) -> SetupError:
    return SetupError(
        f"The folder {folder} could not be written.",
        why=f"The system says: {error.strerror or error}.",
        fix="Name a folder that you may write with --env PATH, or copy the app to a folder of your own.",
    )


def room_problem(free_bytes: int, need_gib: int, place: Path) -> SetupError | None:
    """The error for a disk with too little room, or None."""
    free_gib = free_bytes / 2**30
    if free_gib >= need_gib:
        return None
    return SetupError(
        "Nothing was installed yet.",
        why=f"The disk that holds {place} has {free_gib:.1f} GiB free, and this needs about {need_gib} GiB.",
        fix="Free some space there, or name a folder on a larger disk with --env PATH. Then start again.",
    )


def check_room(folder: Path, need_gib: int) -> None:
    """Raise SetupError when the disk under `folder` has too little room. The folder need not exist yet."""
    place = folder
    while not place.exists():
        place = place.parent
    if problem := room_problem(shutil.disk_usage(place).free, need_gib, place):
        raise problem


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the right to change the environment. The system lets go of it when this process ends, however."""
    lock = folder.with_name(folder.name + ".setup.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise _not_writable(lock.parent, error) from error
    with file:
        if not _try_lock(file):
            raise SetupError(
                "The setup was not started.",
                why=f"Another start of this app is working on {folder} right now.",
                fix="Wait until it is done, then start again.",
            )
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
