"""How long Home and the Training page take with a thousand finished trainings, against an empty workspace.

Timed: one run of the script on the server, as a new tab causes it, from its start to its end, without the
browser: of Home with the frame round it (the sidebar, the activity strip), and of the Training page. One
process does it for both workspaces in turn. Its first run imports modules and reads the records for the first
time; it is told apart as `many_jobs_first`.

Each finished training has the files of a real one: its record, its status, its steps, no pictures.

Not covered: the browser, the line to it, and a file system that is slow to list a folder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import ROOT
from benchmarks.processes import CannotMeasureError
from benchmarks.record import Measurement, emit, tell

TARGET_S: Final = 1.0
_ALTERNATIVE: Final = "an empty workspace"
_STEPS: Final = 20
_TIMEOUT_S: Final = 1800

_LOOK: Final = """
import json, os, sys, time
from streamlit.testing.v1 import AppTest
folders, times = json.loads(sys.argv[1]), int(sys.argv[2])
seen = {name: {"home": [], "training": []} for name in folders}
for number in range(-1, times):
    for name, folder in folders.items():
        os.environ["LORA_WORKSPACE"] = folder
        app = AppTest.from_file(os.path.abspath("Home.py"), default_timeout=300)
        for page in seen[name]:
            if page == "training":
                app.switch_page("pages/Training.py")
            started = time.perf_counter()
            app.run()
            seen[name][page].append(time.perf_counter() - started)
            if app.exception:
                raise SystemExit(app.exception[0].value)
print(json.dumps(seen))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=int, default=10, help="looks at each; 10 unless told otherwise")
    parser.add_argument(
        "--jobs", type=int, default=1000, help="finished trainings; 1000 unless told otherwise"
    )


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        empty, full = Path(folder, "empty"), Path(folder, "full")
        make(empty, 0)
        tell(f"Making {options.jobs} finished trainings.")
        make(full, options.jobs)
        seen = looks({"full": full, "empty": empty}, options.times)
    for name, what, page, part in (
        ("many_jobs", "one run of the Training page's script", "training", slice(1, None)),
        ("many_jobs_home", "one run of Home's script with the frame", "home", slice(1, None)),
        ("many_jobs_first", "the Training page's first run after a start", "training", slice(0, 1)),
    ):
        emit(
            Measurement(
                name=name,
                what=what,
                unit="s",
                values=seen["full"][page][part],
                against=_ALTERNATIVE,
                against_values=seen["empty"][page][part],
                target=TARGET_S,
                settings={"jobs": options.jobs},
            )
        )


def make(root: Path, count: int) -> None:
    """A workspace with so many finished trainings."""
    from lora_core import jobs
    from lora_core.jobs.records import End, Status, write_status
    from lora_core.workspace import Workspace

    ws, start = Workspace.open(root), time.time() - count
    for number in range(count):
        job = jobs.create(
            ws, "train", f"training {number}", {"output_name": "x"}, engine="diffusers", start=False
        )
        lines = [{"step": step, "loss": 0.5 / step, "lr": 1e-4, "epoch": 1} for step in range(1, _STEPS + 1)]
        (job.folder / "progress.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
        at = start + number
        end = End(cause="It ran to its end.", at=at, step=_STEPS)
        status = Status(state="finished", step=_STEPS, total=_STEPS, loss=0.1, end=end, updated=at, order=at)
        write_status(job.folder, status)


def looks(folders: dict[str, Path], times: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each run of the script, for each workspace and page; the first is the first of its process.

    Raises:
        CannotMeasureError: the page did not come up.
    """
    named = json.dumps({name: str(folder) for name, folder in folders.items()})
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, named, str(times)],
        cwd=ROOT,
        env={**os.environ, "LORA_NO_BROWSER": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise CannotMeasureError(f"The page did not come up.\n{done.stderr[-2000:]}")
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen
