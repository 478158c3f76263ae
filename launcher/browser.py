"""Find what the browser tests need: a Chromium or Chrome, and axe-core.

Covered: looking in the usual places, installing Debian's Chromium where that is nobody's decision (as root,
or in CI), and the one command to run elsewhere.

Not covered: starting the browser; tests/browser does that.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from launcher.environment import Environment, site_packages
from launcher.words import SetupError, say

AXE_VERSION: Final = "4.14.1"
PATH_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_PLACES: Final = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
WINDOWS_PLACES: Final = (r"Google\Chrome\Application\chrome.exe", r"Chromium\Application\chrome.exe")
APT: Final = ("apt-get", "install", "-y", "--no-install-recommends", "chromium", "fonts-liberation")


def in_ci(environ: Mapping[str, str]) -> bool:
    """Is this a CI run, where a missing part is an error and never a reason to skip?"""
    return environ.get("CI", "").lower() in ("true", "1")


def named_browser(environ: Mapping[str, str]) -> Path | None:
    """The browser that LORA_CHROMIUM names, or None. Raises SetupError when it names no file."""
    named = environ.get("LORA_CHROMIUM", "")
    if named and not Path(named).is_file():
        raise SetupError(
            "The browser tests cannot start.",
            why=f"LORA_CHROMIUM names {named}, and there is no such file.",
            fix="Set it to the program of a Chromium or Chrome, or unset it to have one looked for.",
        )
    return Path(named) if named else None


def installed_browser(environ: Mapping[str, str]) -> Path | None:
    """A Chromium or Chrome in the usual places of this system."""
    return next((place for place in _places(environ) if place.is_file()), None)


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    for name in PATH_NAMES:
        if found := shutil.which(name, path=environ.get("PATH")):
            yield Path(found)
    if sys.platform == "darwin":
        yield from map(Path, MAC_PLACES)
    for root in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
        if environ.get(root):
            yield from (Path(environ[root]) / place for place in WINDOWS_PLACES)


def playwright_browser(env: Environment) -> Path | None:
    """Playwright's own Chromium, when it was downloaded before."""
    ask = (
        "from playwright.sync_api import sync_playwright as start\n"
        "with start() as playwright: print(playwright.chromium.executable_path)"
    )
    answer = subprocess.run([env.python, "-c", ask], capture_output=True, text=True, timeout=120, check=False)
    place = Path(answer.stdout.strip() or "/nowhere")
    return place if answer.returncode == 0 and place.is_file() else None


def find_browser(env: Environment, environ: Mapping[str, str]) -> Path | None:
    """A browser for the tests, installed with apt where that is allowed; None where none is to be had."""
    found = named_browser(environ) or installed_browser(environ) or playwright_browser(env)
    if found is None and _may_use_apt(environ) and _apt_install(environ):
        found = installed_browser(environ)
    return found


def _may_use_apt(environ: Mapping[str, str]) -> bool:
    if shutil.which("apt-get", path=environ.get("PATH")) is None:
        return False
    return in_ci(environ) or (hasattr(os, "geteuid") and os.geteuid() == 0)


def _apt_install(environ: Mapping[str, str]) -> bool:
    say("No Chromium was found. Installing Debian's with apt.")
    sudo = [] if not hasattr(os, "geteuid") or os.geteuid() == 0 else ["sudo", "-n"]
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("apt-get", "update"), APT):
        try:
            done = subprocess.run([*sudo, *command], env=quiet, capture_output=True, text=True, check=False)
        except OSError:
            return False  # no sudo here
        if done.returncode != 0:
            say(f"  {' '.join(command)} ended with: {(done.stderr.strip().splitlines() or ['no words'])[-1]}")
    return installed_browser(environ) is not None


def missing_browser(env: Environment) -> str:
    """What to tell somebody whose machine has no browser for the tests."""
    return (
        "No Chromium or Chrome was found, so the tests in a browser cannot run.\n"
        f"  What to do: {env.python} -m playwright install chromium"
    )


def find_axe(env: Environment, environ: Mapping[str, str]) -> Path | None:
    """axe-core's script: the one LORA_AXE names, npm's, or the one that axe-playwright-python carries."""
    if named := environ.get("LORA_AXE"):
        return Path(named)
    kept = env.folder / "axe" / f"axe-{AXE_VERSION}.min.js"
    if kept.is_file() or _fetch_axe(kept):
        return kept
    packages = site_packages(env.folder)
    carried = packages / "axe_playwright_python" / "axe.min.js" if packages else None
    return carried if carried and carried.is_file() else None


def _fetch_axe(target: Path) -> bool:
    npm = shutil.which("npm")
    if npm is None:
        return False
    target.parent.mkdir(exist_ok=True)
    fetched = subprocess.run(
        [npm, "pack", "--silent", f"axe-core@{AXE_VERSION}"],
        cwd=target.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    package = target.parent / f"axe-core-{AXE_VERSION}.tgz"
    if fetched.returncode != 0 or not package.is_file():
        return False
    with tarfile.open(package) as archive:
        script = archive.extractfile("package/axe.min.js")
        if script is None:
            return False
        part = target.with_suffix(".part")
        part.write_bytes(script.read())
    part.replace(target)  # whole or not at all: a kill here must not leave half a script that counts as kept
    package.unlink()
    return True
