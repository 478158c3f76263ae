"""The user service in the docs and the workflow file: that they name what is there."""

import configparser
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "user_service.md").read_text("utf-8")


def unit() -> str:
    found = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_unit_starts_the_runner_and_spares_what_it_started() -> None:
    parts = configparser.ConfigParser(interpolation=None)
    parts.optionxform = str  # type: ignore[assignment, method-assign]  # as systemd reads them
    parts.read_string(unit())
    service = parts["Service"]
    module = service["ExecStart"].split(" -m ")[1].split()[0]
    assert find_spec(module) is not None
    assert service["KillMode"] == "process", "or a training ends with the service"
    assert service["ExecStart"].startswith(service["WorkingDirectory"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "lora-easy-trainer.service"
    # A program that is there: this checks the words, not the folders of one computer.
    path.write_text(re.sub(r"%h/lora-easy-trainer/.venv/bin/python", "/bin/true", unit()).replace("%h/", "/"))
    command = ["systemd-analyze", "--user", "--man=no", "verify", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Unknown" not in done.stderr
    assert "Failed to parse" not in done.stderr


def test_the_workflow_runs_the_tests_on_the_three_systems_with_the_usual_command() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    job = flow["jobs"]["test"]
    assert {name.split("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "windows", "macos"}
    assert "python start.py test" in [step.get("run") for step in job["steps"]]


def test_the_readme_says_that_windows_and_macos_were_never_run() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for system in ("Windows 10 and 11, CPU or NVIDIA", "macOS, Apple silicon"):
        assert f"| {system} | built, never run |" in readme
