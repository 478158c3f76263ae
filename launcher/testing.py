"""`python3 start.py test`: every check and every test, and one summary.

Covered: ruff format, ruff, mypy, import-linter and pytest, each to its end even when another found something;
two of them at a time, and pytest as one process for each folder of tests; the time of each; pytest's closing
line, summed over its processes, as the last line, because CI reads it.

Not covered: the settings of these tools (pyproject.toml).
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from launcher.browser import find_axe, find_browser, in_ci, missing_browser
from launcher.environment import Environment
from launcher.options import CheckOptions
from launcher.setup import prepare
from launcher.words import ROOT, duration, say

COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
CLOSING: Final = re.compile(r"(?:=+ )?(?:\d+ \w+.*|no tests ran) in [\d.]+s(?: \([\d:]+\))?(?: =+)?")
COUNTED: Final = re.compile(r"(\d+) (\w+)")
WORDS: Final = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
"""What pytest counts, in its own order."""
REPORT: Final = re.compile(r"=+ (?:FAILURES|ERRORS|warnings summary.*|short test summary info) =+")
"""Where pytest stops to show how far it is and begins to tell what it found."""
FINDING: Final = re.compile(r"(?:FAILED|ERROR) \S+\.py\b.*")
LONGEST_FIRST: Final = ("browser", "engines", "unit", "app")
AT_ONCE: Final = 2 if (os.cpu_count() or 1) > 1 else 1
"""More than two would wait for each other's processor cores on the machines that this runs on."""
TELLING: Final = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one step of the run ended."""

    name: str
    ok: bool
    seconds: float
    closing: str = ""
    """The last line of a pytest."""
    findings: tuple[str, ...] = ()
    """One line for each test that failed."""


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
    started_s, python = time.monotonic(), str(env.python)
    steps: list[Callable[[], Outcome]] = [
        partial(_check, name, [python, *command], environ) for name, command in CHECKS
    ]
    # What a person asks pytest for is one run of it: `-x` ends it, and `--lf` has one list.
    groups = {"": asked.pytest} if asked.pytest else {name: (f"tests/{name}",) for name in _folders()}
    for name, arguments in groups.items():
        steps.append(partial(_pytest, [python, "-m", "pytest", *arguments], environ, name))
    outcomes += _side_by_side(steps)
    say()
    for finding in (line for outcome in outcomes for line in outcome.findings):
        say(finding)
    for outcome in outcomes:
        say(f"{outcome.name:<15} {'ok' if outcome.ok else 'FAILED':<7} {duration(outcome.seconds)}")
    closings = [outcome.closing for outcome in outcomes if outcome.closing]
    say(closings[0] if len(closings) == 1 else _summed(closings, time.monotonic() - started_s))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _folders() -> list[str]:
    """The folders of tests, the one that takes longest first, so that no core waits long at the end."""
    found = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    return sorted(
        found, key=lambda name: (name not in LONGEST_FIRST, (*LONGEST_FIRST, name).index(name), name)
    )


def _side_by_side(steps: Iterable[Callable[[], Outcome]]) -> list[Outcome]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = [pool.submit(step) for step in steps]
        try:
            return [step.result() for step in started]
        finally:  # with Ctrl-C: what has not begun does not begin
            for step in started:
                step.cancel()


def _summed(closings: Iterable[str], seconds: float) -> str:
    """The closing lines of several pytests as the one that a single pytest would have written."""
    counts: Counter[str] = Counter()
    for closing in closings:
        plain = COLOURS.sub("", closing)
        if not CLOSING.fullmatch(plain):
            return closing
        for number, word in COUNTED.findall(plain.partition(" in ")[0]):
            counts[word if word in WORDS else word.removesuffix("s")] += int(number)
    words = [
        f"{counts[word]} {word}{'s' if word in ('warning', 'error') and counts[word] > 1 else ''}"
        for word in WORDS
        if counts[word]
    ]
    whole = int(seconds)
    clock = f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    text = f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s{f' ({clock})' if whole >= 60 else ''} "
    return text.center(max(80, len(text) + 2), "=")


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
    told = "" if outcome.ok else f"{done.stdout.rstrip()}\n"
    _print(f"{name}: {'ok' if outcome.ok else 'FAILED'} ({duration(outcome.seconds)})\n{told}")
    return outcome


def _pytest(command: Sequence[str], environ: Mapping[str, str], folder: str = "") -> Outcome:
    """Run pytest with its output as it comes; one of several tells its findings in one piece at its end."""
    started_s, closing = time.monotonic(), "pytest ended without its closing line"
    held: list[str] = []
    findings: list[str] = []
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    lead, telling = f"{folder}: " if folder else "", False
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
            plain = COLOURS.sub("", line).strip()
            if REPORT.fullmatch(plain):
                telling = True
            if folder and telling:
                held.append(line if held else f"\n{folder}:\n{line}")
            else:
                _print(lead + line)
            if CLOSING.fullmatch(plain):
                closing = line.rstrip()
            elif telling and FINDING.fullmatch(plain):
                findings.append(plain)
    _print("".join(held))
    return Outcome(
        name=f"pytest {folder}".rstrip(),
        ok=process.returncode == 0,
        seconds=time.monotonic() - started_s,
        closing=closing,
        findings=tuple(findings) if folder else (),
    )


def _print(text: str) -> None:
    with TELLING:
        print(text, end="", flush=True)
