"""What the docs claim about the code is held against the code."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def _writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "write_architecture", ROOT / "docs" / "write_architecture.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_architecture_page_has_the_tree_of_today() -> None:
    writer = _writer()
    page = writer.PAGE.read_text("utf-8")
    assert writer.page_with_tree(page) == page, "run python docs/write_architecture.py"


def test_every_module_says_in_one_line_what_it_is() -> None:
    writer = _writer()
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in writer.module_files()
        if not writer.summary(path) and path.read_text("utf-8").strip()
    ]
    assert silent == []


@pytest.mark.parametrize(
    "page",
    sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]),
)
def test_a_link_in_the_docs_leads_to_a_file(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_readme_opens_with_the_two_commands() -> None:
    lines = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.strip()]
    assert lines[2].startswith("python3 start.py ")
    assert lines[3].startswith("python3 start.py test")


def test_the_readme_names_every_page_of_the_docs() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"docs/{p.name}" not in readme] == []
