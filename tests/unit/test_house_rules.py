"""The rules of this code that no other tool checks, each with one test."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("Home.py", "benchmarks", "start.py", "launcher", "lora_core", "pages", "ui")
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_TEST_FILE = 600
"""Longer than other files: its tests are read one by one."""
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_PAGE = 160
PAGE_IMPORTS = {"streamlit", "ui", "lora_core"}
"""A page reads state, calls lora_core and draws; what else it would need belongs into one of these."""


def files(*places: str) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_file_is_short_enough_to_be_read_in_one_go() -> None:
    for places, most in ((CODE, MOST_LINES_OF_A_FILE), (("tests",), MOST_LINES_OF_A_TEST_FILE)):
        lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in files(*places)}
        assert {name: count for name, count in lines.items() if count > most} == {}


def test_a_page_is_thin() -> None:
    lines = {relative(path): len(path.read_text("utf-8").splitlines()) for path in files("pages", "Home.py")}
    assert {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_PAGE} == {}


def test_a_function_is_short_enough_to_be_seen_whole() -> None:
    long = {}
    for path in files(*CODE):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MOST_LINES_OF_A_FUNCTION:
                    long[f"{relative(path)}:{node.lineno} {node.name}"] = count
    assert long == {}


def test_a_page_imports_the_core_and_the_shared_parts_and_nothing_else() -> None:
    found = {}
    for path in files("pages"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name.partition(".")[0] not in PAGE_IMPORTS:
                    found[f"{relative(path)}:{node.lineno}"] = name
    assert found == {}


SILENCER = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:)[^#]*")
REASONED = re.compile(
    r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w, -]+\]|pragma: no \w+)\W+\w+.*\w{3}"
)


def test_whatever_is_silenced_carries_its_reason_in_the_same_line() -> None:
    bare = []
    for path in files(*CODE, "tests"):
        text = path.read_text("utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            silences = token.type == tokenize.COMMENT and SILENCER.match(token.string)
            if silences and not REASONED.match(token.string):
                bare.append(f"{relative(path)}:{token.start[0]} {token.string}")
    assert bare == []


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_is_larger_than_it_may_be() -> None:
    sizes = {relative(path): path.stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > 12_000_000} == {}


def test_no_file_names_a_folder_of_one_machine() -> None:
    pattern = re.compile(r"(?<![A-Za-z0-9_.])/(?:work|root)/|/home/(?!user\b|you\b|me\b)\w")
    found = []
    for path in tracked():
        if path.suffix in {".py", ".toml", ".md", ".txt", ".json", ".bat", ""}:
            for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
                if pattern.search(line):
                    found.append(f"{relative(path)}:{number} {line.strip()[:80]}")
    assert found == []


def test_every_lock_knows_where_locks_hold() -> None:
    """On a network volume a lock in the workspace may hold nobody out; `volumes.locked` sees to that."""
    found = {}
    for path in files("lora_core", "pages", "ui", "Home.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "filelock":
                found[relative(path)] = node.lineno
    assert set(found) == {"lora_core/volumes.py"}
