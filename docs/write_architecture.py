"""Write the tree in docs/architecture.md, one line a module: `python docs/write_architecture.py`.

Covered: every Python file of the app, one line each, in the folders' order below. Not covered: the prose
around the tree, which people write.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "architecture.md"
START: Final = "<!-- tree: written by docs/write_architecture.py -->"
END: Final = "<!-- end of the tree -->"
_FOLDERS: Final = ("launcher", "pages", "ui", "lora_core", "docs", "benchmarks", "tests")


def module_files() -> list[Path]:
    """Every Python file of the project, top-level ones first."""
    found = sorted(ROOT.glob("*.py"))
    for folder in _FOLDERS:
        found += sorted((ROOT / folder).rglob("*.py"), key=lambda path: (path.parent.as_posix(), path.name))
    return found


def summary(path: Path) -> str:
    """The first line of the module's docstring, without its full stop; empty when it has none."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0].rstrip(".:")


def tree() -> str:
    """The tree as Markdown: one list per folder, one line a file."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    folder = None
    for path in module_files():
        if path.parent != folder:
            folder = path.parent
            name = folder.relative_to(ROOT).as_posix()
            yield f"\n### {'The top folder' if name == '.' else f'`{name}/`'}\n"
        if path.name != "__init__.py":
            yield f"- `{path.name}`: {summary(path)}"
        else:
            yield f"{summary(path)}.\n"


def page_with_tree(page: str) -> str:
    """`page` with its tree as it should be."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{tree()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_tree(PAGE.read_text("utf-8")), "utf-8")
