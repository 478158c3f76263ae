"""start.py on a Python that is too old says so, instead of stopping at a line it cannot read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "start.py"


@pytest.mark.parametrize("minor", [4, 6, 8, 10])
def test_start_py_can_be_read_by_an_old_python(minor: int) -> None:
    ast.parse(START.read_text("ascii"), feature_version=(3, minor))


def test_an_old_python_is_told_what_it_needs_and_where_to_get_it() -> None:
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", pretend, START], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer. This is Python 3.9." in done.stderr
    assert "What to do: install Python 3.13" in done.stderr
    assert "python.org/downloads" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_the_launcher_is_imported_before_the_version_is_checked() -> None:
    body = ast.parse(START.read_text("ascii")).body
    check = next(place for place, node in enumerate(body) if isinstance(node, ast.If))
    before = [node for node in body[:check] if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in before for alias in node.names] == ["sys"]


def test_the_windows_starter_looks_for_pythons_that_the_launcher_takes() -> None:
    from launcher.setup import NEWEST_PYTHON

    text = (ROOT / "start.bat").read_text("ascii")
    tried = text.split("for %%v in (")[1].split(")")[0].split()
    assert sorted(tried) == [f"3.{minor}" for minor in range(11, NEWEST_PYTHON[1] + 1)]
    assert f"<= (3, {NEWEST_PYTHON[1]})" in text
    assert "start.py" in text
    assert "%*" in text, "the options must reach start.py"


def test_the_windows_starter_is_checked_out_with_windows_line_ends() -> None:
    assert "*.bat text eol=crlf" in (ROOT / ".gitattributes").read_text("ascii").splitlines()
