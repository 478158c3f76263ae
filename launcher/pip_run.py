"""Run pip in the environment, show how far it is, and explain what went wrong.

Covered: one line of progress (what is being fetched, how much of it, for how long), the whole output in a
log file, and a cause in plain words for a full disk, a missing network, a version that does not exist for
this machine, and a folder that cannot be written.

Not covered: choosing what to install.
"""

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from launcher.environment import Environment, site_packages
from launcher.words import SetupError, StatusLine, duration

DOWNLOAD: Final = re.compile(r"Downloading (\S+?)(?:\.metadata)? \(([\d.]+) (kB|MB|GB)\)")
UNIT_MB: Final = {"kB": 0.001, "MB": 1.0, "GB": 1000.0}
NO_NETWORK: Final = re.compile(
    r"NewConnectionError|NameResolutionError|name resolution|Max retries|ReadTimeout|ConnectTimeout"
    r"|ProxyError|SSLError|Connection (?:refused|reset|aborted)|Network is unreachable|Errno (?:-3|11001)"
    r"|Could not fetch URL",
    re.IGNORECASE,
)
CHANGES: Final = ("Installing collected", "Attempting uninstall", "Found existing installation")


def pip_environ(env: Path) -> dict[str, str]:
    """The variables pip runs with: the machine's own pip settings count, another environment's do not."""
    environ = dict(os.environ)
    environ.pop("PYTHONHOME", None)
    environ.pop("PYTHONPATH", None)
    # A pip set up to install for the user or elsewhere would put packages outside the environment.
    environ |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONNOUSERSITE": "1", "PIP_NO_INPUT": "1"}
    environ |= {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
        "PYTHONUTF8": "1",
        "PYTHONWARNINGS": "ignore",
    }
    # /tmp is often small and in memory, and torch is not: unpack beside the environment instead.
    scratch = env / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}


def run_pip(env: Environment, arguments: Sequence[str], *, what: str) -> None:
    """Run `pip ARGUMENTS` in the environment. Raises SetupError with the cause in plain words.

    pip fetches everything before it changes anything, so the environment is marked as changing only from
    there on: a lost connection or a kill while fetching costs nothing that was sound.
    """
    log = env.folder / "setup.log"
    command = [str(env.python), "-m", "pip", *arguments]
    with (
        log.open("a", encoding="utf-8", errors="replace") as file,
        subprocess.Popen(
            command,
            env=pip_environ(env.folder),
            text=True,
            encoding="utf-8",
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        file.write(f"\n$ pip {' '.join(arguments)}\n")
        watcher = _Watcher(env.folder)
        try:
            for line in process.stdout or ():
                if line.startswith(CHANGES):
                    env.mark("changing")
                file.write(line)
                watcher.take(line)
        except KeyboardInterrupt:
            process.terminate()
            raise
        finally:
            watcher.close()
    if process.returncode != 0:
        raise explain(what, watcher.lines, log)
    env.mark("begun")


class _Watcher:
    """Reads pip's lines as they come and keeps a status line moving between them."""

    def __init__(self, env: Path) -> None:
        self.lines: list[str] = []
        self._env = env
        self._status = StatusLine()
        self._describe: Callable[[], str] = lambda: "reading the package list"
        self._started_s = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._redraw, daemon=True)
        self._thread.start()

    def take(self, line: str) -> None:
        self.lines.append(line.rstrip())
        if found := DOWNLOAD.search(line):
            self._describe = self._fetching(found[1], float(found[2]) * UNIT_MB[found[3]])
        elif line.startswith("Installing collected packages:"):
            self._describe = self._installing(line.count(",") + 1)

    def _redraw(self) -> None:
        while not self._over.wait(0.5):
            passed = duration(time.monotonic() - self._started_s)
            self._status.show(f"      {self._describe()}, {passed} so far")

    def _fetching(self, name: str, total_mb: float) -> Callable[[], str]:
        since_s = time.monotonic()

        def describe() -> str:
            if total_mb < 20:  # a small file is there before anybody has read its numbers
                return f"fetching {name}"
            done_mb = min(_largest_file_mb(self._env / "tmp"), total_mb)
            rate = done_mb / max(time.monotonic() - since_s, 0.1)
            left = f", about {duration((total_mb - done_mb) / rate)} left" if rate > 0.01 else ""
            return f"fetching {name}: {done_mb:.0f} of {total_mb:.0f} MB, {rate:.1f} MB/s{left}"

        return describe

    def _installing(self, total: int) -> Callable[[], str]:
        # pip is silent here. It writes a package's record last, so the records tell how many are in place.
        since = time.time()

        def describe() -> str:
            done = min(_count_packages(self._env, since), total)
            return f"putting the packages in place: {done} of {total}"

        return describe

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._status.clear()


def _count_packages(env: Path, since: float) -> int:
    """How many packages were put in place since this time (seconds since 1970)."""
    packages, count = site_packages(env), 0
    for record in packages.glob("*.dist-info/RECORD") if packages else ():
        with contextlib.suppress(FileNotFoundError):  # pip takes the old ones away meanwhile
            count += record.stat().st_mtime >= since
    return count


def _largest_file_mb(folder: Path) -> float:
    """pip writes one download at a time into a folder of its own; the largest file there is that one."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)  # noqa: PTH116, PTH118 - os.walk gives strings
            except OSError:
                continue  # it was there a moment ago: pip has finished with it
    return largest / 1e6


def explain(what: str, lines: Sequence[str], log: Path) -> SetupError:
    """Turn the end of pip's output into a cause and a fix."""
    text = "\n".join(lines)
    title = f"{what} could not be installed."
    if re.search(
        r"No space left on device|Errno 28|not enough space|Disk quota exceeded", text, re.IGNORECASE
    ):
        return SetupError(
            title,
            why=f"The disk that holds {log.parent} is full.",
            fix="Free some space there, or name a folder on another disk with --env PATH. Then start again.",
        )
    if NO_NETWORK.search(text):
        return SetupError(
            title,
            why="The package index did not answer. This computer is offline, or a firewall is between.",
            fix="Check the connection and start again: what is already fetched is kept. "
            "Behind a proxy, set HTTPS_PROXY first.",
        )
    # The second form is what pip says when it knows the package and not the version that is pinned.
    if missing := re.search(r"(?:No matching distribution found for|requested \(constraint\)) (\S+)", text):
        return SetupError(
            title,
            why=f"The package index has no {missing[1]} for this system and this Python.",
            fix="Install Python 3.13 (64 bit) and start again with it. If you use a mirror, update it.",
        )
    if re.search(
        r"Permission denied|Errno 13|Read-only file system|Errno 30|Access is denied", text, re.IGNORECASE
    ):
        return SetupError(
            title,
            why=f"The folder {log.parent} cannot be written, or a program in it is running.",
            fix="Close the app if it is open. Or name a folder of your own with --env PATH.",
        )
    last = " / ".join(line.strip() for line in lines if line.strip())[-300:]
    return SetupError(
        title,
        why=f"pip ended with an error. Its last words: {last}",
        fix=f"Read the end of {log}. Start again to try once more; the environment is made anew.",
    )
