"""What the pages may not do, read from their source: motion, pop-ups, bare icons, vague buttons."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ui import icons

ROOT = Path(__file__).parents[2]
FILES: Final = sorted([ROOT / "Home.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "ui").glob("*.py")])

FORBIDDEN: Final = {
    "toast", "balloons", "snow", "slider", "select_slider", "pills", "segmented_control", "tabs",
    "date_input", "time_input", "datetime_input", "color_picker", "feedback", "line_chart",
    "area_chart", "bar_chart", "scatter_chart", "dialog", "multiselect", "file_uploader_legacy",
    "audio", "video", "menu_button", "chat_input",
}  # fmt: skip
CODE: Final = re.compile(r"[{};<>^]|\\[a-z]|==|=\"")
HEADINGS: Final = {"title", "header", "subheader"}
NEEDS_ALT: Final = {"plotly_chart", "image", "table", "dataframe", "data_editor"}
BUTTONS: Final = {"button", "download_button", "form_submit_button", "link_button"}
VERBS: Final = {
    "Start", "Stop", "Train", "Look", "Go", "Make", "Bring", "Take", "Put", "Check", "Download", "Open",
    "Save", "Show", "Choose", "Undo", "Copy", "Write", "Add", "Wait", "See", "Try", "Import", "End",
    "Search", "Get", "Pause", "Send", "Draw",
}  # fmt: skip
VAGUE: Final = {"ok", "yes", "no", "submit", "go", "next", "click here", "continue"}
WORDS: Final = (
    "oops", "whoops", "uh-oh", "hooray", "awesome", "magic", "simply", "easy", "obviously", "of course",
    "please wait", "hang tight", "under the hood", "out of the box", "on the fly", "from scratch",
    "sanity check", "kill ", "abort", "dummy", "invalid", "illegal", "fatal", "error 0x", "etc.",
    "failed to", "sorry", "don't worry", "!",
)  # fmt: skip


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def is_streamlit(call: ast.Call, path: Path) -> bool:
    """`st.x(...)`, or `parts.do_it.x(...)` and the like; not `charts.draw(...)` of our own modules."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(owner, ast.Name):
        return owner.id == "st" or owner.id.endswith(
            ("container", "column", "box", "parts", "happened", "do_it")
        )
    return isinstance(owner, ast.Attribute) and owner.attr in {"do_it", "happened", "sidebar"}


def streamlit_calls() -> list[tuple[str, ast.Call, str]]:
    return [
        (f"{path.name}:{call.lineno} {call.func.attr}", call, call.func.attr)
        for path in FILES
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and is_streamlit(call, path)
    ]


def given(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def labels(call: ast.Call) -> list[str]:
    """The constant texts that a call may show as its label."""
    first = call.args[0] if call.args else given(call, "label")
    options = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return [o.value for o in options if isinstance(o, ast.Constant) and isinstance(o.value, str)]


def test_there_are_pages_to_look_at() -> None:
    assert len(FILES) > 10
    assert len(streamlit_calls()) > 30


def test_nothing_moves_pops_up_or_hides() -> None:
    assert [where for where, _, name in streamlit_calls() if name in FORBIDDEN] == []


def test_hints_stand_on_the_page_and_not_behind_a_tiny_sign() -> None:
    assert [where for where, call, _ in streamlit_calls() if given(call, "help") is not None] == []


def test_no_heading_has_the_tiny_link() -> None:
    def bare(call: ast.Call) -> bool:
        anchor = given(call, "anchor")
        return not (isinstance(anchor, ast.Constant) and anchor.value is False)

    assert [where for where, call, name in streamlit_calls() if name in HEADINGS and bare(call)] == []


def test_every_chart_picture_and_table_has_words() -> None:
    assert [
        where for where, call, name in streamlit_calls() if name in NEEDS_ALT and given(call, "alt") is None
    ] == []


def test_icons_come_from_the_one_list() -> None:
    def foreign(value: ast.expr | None) -> bool:
        return isinstance(value, ast.Constant) and value.value is not None

    assert [where for where, call, _ in streamlit_calls() if foreign(given(call, "icon"))] == []


def test_no_two_meanings_share_an_icon() -> None:
    assert len(set(icons.ALL.values())) == len(icons.ALL)


def test_no_page_writes_html_from_data() -> None:
    def made(call: ast.Call) -> bool:
        return not (call.args and isinstance(call.args[0], ast.Name | ast.Constant))

    found = [where for where, call, name in streamlit_calls() if name == "html" and made(call)]
    # The two places that escape what they are given; tests/app/test_pictures.py and test_settings_form.py
    # hold them to that.
    assert [where.partition(":")[0] for where in found] == ["pictures.py", "settings_fields.py"]


def test_no_page_opens_html_in_markdown() -> None:
    assert [
        where for where, call, _ in streamlit_calls() if given(call, "unsafe_allow_html") is not None
    ] == []


@pytest.mark.parametrize(("where", "call"), [(w, c) for w, c, name in streamlit_calls() if name in BUTTONS])
def test_a_button_says_verb_and_thing(where: str, call: ast.Call) -> None:
    for label in labels(call):
        words = label.split()
        assert len(words) >= 2, f"{where}: {label!r} is one word"
        assert words[0] in VERBS, f"{where}: {label!r} does not start with a verb of the list"
        assert label.casefold() not in VAGUE


def shown_texts(path: Path) -> Iterator[str]:
    """Every text constant that is no docstring and no key; what a person may get to read."""
    tree = ast.parse(path.read_text("utf-8"))
    documented = (ast.Module, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            text = node.value
            # Style sheets, scripts and patterns are no words; the app's name is one.
            if " " in text and not CODE.search(text):
                yield text.replace("LoRA Easy Trainer", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_words_are_calm_and_literal(path: Path) -> None:
    found = [(word, text) for text in shown_texts(path) for word in WORDS if word in text.casefold()]
    assert found == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_page_is_short_and_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    limit = 150 if path.parent.name == "pages" or path.name == "Home.py" else 400
    assert len(path.read_text("utf-8").splitlines()) <= limit
