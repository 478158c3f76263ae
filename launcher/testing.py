"""`python3 start.py test`: every check and every test, and one summary.

Covered: ruff format, ruff, mypy, import-linter and pytest, each to its end even when one before it found
something; the time of each; pytest's own closing line as the last line, because CI reads it.

Not covered: the settings of these tools (pyproject.toml).
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from launcher.browser import find_axe, find_browser, in_ci, missing_browser
from launcher.environment import Environment
from launcher.options import CheckOptions
from launcher.setup import prepare
from launcher.words import ROOT, duration, say

COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
CLOSING: Final = re.compile(r"(?:=+ )?(?:\d+ \w+.*|no tests ran) in [\d.]+s(?: \([\d:]+\))?(?: =+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one step of the run ended."""

    name: str
    ok: bool
    seconds: float


CHECKS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("ruff format", ("-m", "ruff", "format", "--check", ".")),
    ("ruff", ("-m", "ruff", "check", ".")),
    ("mypy", ("-m", "mypy")),
    ("import-linter", ("-c", "from importlinter.cli import lint_imports_command as run; run()")),
)
"""Arguments for the environment's Python; all of them run in the project's folder."""


def run_tests(asked: CheckOptions) -> int:
    """Run everything; returns 0 only when all of it is as it should be."""
    env = prepare(asked.env, tests=True)
    environ, outcomes = _prepare_browser(env, asked)
    for name, command in CHECKS:
        outcomes.append(_check(name, [str(env.python), *command], environ))
    say("\npytest")
    outcome, closing = _pytest([str(env.python), "-m", "pytest", *asked.pytest], environ)
    outcomes.append(outcome)
    say()
    for outcome in outcomes:
        say(f"{outcome.name:<15} {'ok' if outcome.ok else 'FAILED':<7} {duration(outcome.seconds)}")
    say(closing)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _prepare_browser(env: Environment, asked: CheckOptions) -> tuple[dict[str, str], list[Outcome]]:
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    # Tests of the command line find the environment's own programs first.
    environ["PATH"] = os.pathsep.join((str(env.python.parent), environ.get("PATH", "")))
    if asked.full:
        environ["LORA_FULL"] = "1"
    started_s = time.monotonic()
    browser = find_browser(env, environ)
    axe = find_axe(env, environ)
    if browser:
        environ["LORA_CHROMIUM"] = str(browser)
    else:
        say(missing_browser(env))
    if axe:
        environ["LORA_AXE"] = str(axe)
    found = browser is not None and axe is not None
    say(f"Browser: {browser or 'none'}; axe-core: {axe or 'none'}")
    # Outside CI the tests that need it are skipped, each with this reason.
    outcome = Outcome(name="browser", ok=found or not in_ci(environ), seconds=time.monotonic() - started_s)
    return environ, [outcome]


def _check(name: str, command: Sequence[str], environ: Mapping[str, str]) -> Outcome:
    started_s = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=dict(environ),
        text=True,
        encoding="utf-8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    outcome = Outcome(name=name, ok=done.returncode == 0, seconds=time.monotonic() - started_s)
    say(f"{name}: {'ok' if outcome.ok else 'FAILED'} ({duration(outcome.seconds)})")
    if not outcome.ok:
        say(done.stdout.rstrip())
    return outcome


def _pytest(command: Sequence[str], environ: Mapping[str, str]) -> tuple[Outcome, str]:
    """Run pytest with its output as it comes; returns its closing line as well."""
    started_s, closing = time.monotonic(), "pytest ended without its closing line"
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    with subprocess.Popen(
        [*command, *colour],
        cwd=ROOT,
        env=dict(environ),
        text=True,
        encoding="utf-8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:  # leaving waits for it: with Ctrl-C as well, pytest prints what it has
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if CLOSING.fullmatch(COLOURS.sub("", line).strip()):
                closing = line.rstrip()
    return Outcome(name="pytest", ok=process.returncode == 0, seconds=time.monotonic() - started_s), closing
