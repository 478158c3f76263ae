"""Bring the environment to what this machine and these requirement files ask for.

Covered: the order of the steps, doing nothing where nothing is to be done, and saying plainly when a machine
with a GPU got a build for the CPU.

Not covered: the parts themselves (graphics, torch_source, environment, pip_run).
"""

import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Final

from launcher.environment import Environment, Recipe, check_room, foreign, locked
from launcher.graphics import TorchChoice, choose, find_gpus
from launcher.pip_run import pip_environ, run_pip
from launcher.torch_source import RECORD_NAME, TorchSource, ask_torch, find_source, record
from launcher.words import ROOT, SetupError, Steps, duration, say

REQUIREMENTS: Final = ROOT / "requirements.txt"
TEST_REQUIREMENTS: Final = ROOT / "requirements-test.txt"
CONSTRAINTS: Final = ROOT / "constraints.txt"
NEWEST_PYTHON: Final = (3, 14)
NEED_UPDATE_GIB: Final = 1
"""Room for bringing packages up to date when torch stays as it is."""


def prepare(folder: Path, *, tests: bool = False, retry_gpu: bool = False) -> Environment:
    """Make or update the environment in `folder`; a complete one is left alone, within a second.

    `tests` adds the test tools. `retry_gpu` tries again for a GPU build that could not be had last time.
    Raises SetupError, with the cause and what to do.
    """
    started_s = time.monotonic()
    system, machine = platform.system(), platform.machine()
    check_python(
        sys.version_info[:2], sys.maxsize > 2**32, system, machine, sys.implementation.name, _is_musl()
    )
    gpus = find_gpus(system, machine)
    choice = choose(system, gpus, dict(os.environ))
    app = Recipe(files=(REQUIREMENTS, CONSTRAINTS), build=choice.build)
    whole = Recipe(files=(REQUIREMENTS, CONSTRAINTS, TEST_REQUIREMENTS), build=choice.build)
    recipe = whole if tests else app
    env = Environment(folder)
    if env.condition(recipe) == "ready" and not (retry_gpu and _gpu_was_missed(env, choice)):
        say(f"The environment {folder} is up to date (seen in {duration(time.monotonic() - started_s)}).")
        tell_gpu_state(env)
        return env
    with locked(folder):
        _make(env, recipe, [app, whole] if tests else [app], choice)
    say(f"Setup took {duration(time.monotonic() - started_s)}.")
    tell_gpu_state(env)
    return env


def _make(env: Environment, recipe: Recipe, ready_for: list[Recipe], choice: TorchChoice) -> None:
    # Asked again under the lock: another start may have done the work while this one waited for it.
    condition = env.condition(recipe)
    if condition == "foreign":
        raise foreign(env.folder)
    steps = Steps(5)
    with steps.step("Looking at this machine and at where torch can be had"):
        source = find_source(choice, platform.system(), platform.machine())
        _say_machine(choice, source)
        kept = condition == "outdated" and read_record(env).get("installed") == choice.build
        check_room(env.folder, NEED_UPDATE_GIB if kept else source.need_gib)
    with steps.step(f"The environment in {env.folder}"):
        _ready_folder(env, condition)
    with steps.step(f"Installing {source.requirement} (the largest part)"):
        _install_torch(env, choice, source)
    files = [path for path in recipe.files if path != CONSTRAINTS]
    with steps.step(
        "Installing the packages of the app" + (" and the test tools" if TEST_REQUIREMENTS in files else "")
    ):
        wanted = [part for path in files for part in ("-r", str(path))]
        run_pip(env, ["install", *wanted, "-c", str(CONSTRAINTS)], what="The packages of the app")
    with steps.step("Checking that it all fits together"):
        _check(env, choice, source)
    env.finish(ready_for)


def _ready_folder(env: Environment, condition: str) -> None:
    if condition == "half made":
        say("      It was only half made when its setup was stopped. It is made anew.")
        env.remove()
    elif condition == "unusable":
        say("      The Python that it was made with is gone or another one now. It is made anew.")
        env.remove()
    if condition in ("absent", "half made", "unusable"):
        env.create()
    else:
        say("      It is there and sound; only what changed is installed.")


def _install_torch(env: Environment, choice: TorchChoice, source: TorchSource) -> None:
    where = ["-c", str(CONSTRAINTS), *(["--extra-index-url", source.index] if source.index else [])]
    if choice.build not in ("cpu", "default") and not source.index and _installed_torch_label(env):
        # Without a label in the requirement, pip would keep the CPU build: to pip it is the same version.
        replace = ["install", "--force-reinstall", "--no-deps", source.requirement, *where]
        run_pip(env, replace, what="The torch build for this GPU")
    run_pip(env, ["install", source.requirement, *where], what="torch")


def _installed_torch_label(env: Environment) -> str:
    """The label after the `+` of the installed torch's version, read without importing torch."""
    ask = "from importlib.metadata import version; print(version('torch').partition('+')[2])"
    answer = subprocess.run([env.python, "-I", "-c", ask], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _check(env: Environment, choice: TorchChoice, source: TorchSource) -> None:
    again = f"Delete the folder {env.folder} and start again."
    run_pip(env, ["check"], what="A set of packages that fit together")
    installed = ask_torch(env.python, pip_environ(env.folder))
    if installed is None:
        missing = (
            "On Windows, install the Microsoft Visual C++ Redistributable (x64) first. "
            if os.name == "nt"
            else ""
        )
        raise SetupError(
            "torch was installed and does not start.",
            why="Importing it ended with an error.",
            fix=missing + again,
        )
    text = json.dumps(record(choice, source, installed), indent=1) + "\n"
    (env.folder / RECORD_NAME).write_text(text, "utf-8")


def read_record(env: Environment) -> dict[str, str]:
    """What is known about the installed torch; empty when nothing is."""
    try:
        found = json.loads((env.folder / RECORD_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _gpu_was_missed(env: Environment, choice: TorchChoice) -> bool:
    found = read_record(env)
    return bool(found.get("reason")) and not choice.reason


def tell_gpu_state(env: Environment) -> None:
    """Say it when this machine has a GPU that torch will not use, and what to do."""
    found = read_record(env)
    if found.get("reason"):
        say()
        say(f"This computer has a GPU ({found.get('gpu')}), and training will use the slower CPU.")
        say(f"  Why: {found['reason']}")
        say(f"  What to do: {found.get('fix')}")
        say()


def _say_machine(choice: TorchChoice, source: TorchSource) -> None:
    version = ".".join(str(part) for part in sys.version_info[:3])
    say(f"      {platform.system()} {platform.machine()}, Python {version}, {choice.gpu or 'no GPU'}")
    say(f"      torch build: {choice.build}")
    if source.note:
        say(f"      {source.note}")
    if source.note and choice.build == "cpu" and platform.system() == "Linux":
        say(
            "      That may be a build for NVIDIA GPUs: several GB to fetch, and it works on the CPU as well."
        )


def _is_musl() -> bool:
    return "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE"))


def check_python(
    version: tuple[int, int], is_64_bit: bool, system: str, machine: str, implementation: str, musl: bool
) -> None:
    """Raise SetupError where PyTorch has no build for this Python or system, before anything is fetched."""
    title, get = (
        "The app was not set up.",
        "Install Python 3.13 (64 bit) from https://www.python.org/downloads/ and start again with it.",
    )
    if version > NEWEST_PYTHON:
        newest = f"{NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}"
        raise SetupError(
            title,
            why=f"PyTorch 2.13 needs Python {newest} or older. This is Python {version[0]}.{version[1]}.",
            fix=get,
        )
    if not is_64_bit:
        raise SetupError(title, why="This is a 32-bit Python, and PyTorch needs a 64-bit one.", fix=get)
    if implementation != "cpython":
        raise SetupError(
            title,
            why=f"This is {implementation}, and PyTorch has builds for the standard Python only.",
            fix=get,
        )
    if system == "Darwin" and machine != "arm64":
        fix = "On a Mac with an Apple chip, install the arm64 Python. An Intel Mac cannot run the app."
        raise SetupError(
            title, why="PyTorch 2.13 has no build for Intel Macs, and this Python is an Intel one.", fix=fix
        )
    if musl:
        fix = "Use Debian, Ubuntu, Fedora or another system with glibc, for example in a container."
        raise SetupError(title, why="PyTorch has no build for systems with musl, such as Alpine.", fix=fix)
