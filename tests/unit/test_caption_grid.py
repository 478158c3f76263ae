"""Edits out of the table of captions: each is taken once, and nothing else is."""

from typing import Any

import pytest

from lora_core.datasets.index import Row
from ui.caption_grid import Shown, new_edits


def row(name: str, revision: str = "r0") -> Row:
    return Row(name=name, digest="", width=1, height=1, caption="", revision=revision)


@pytest.fixture
def shown() -> Shown:
    return Shown(query=("pets", 1), number=4, revisions={"a.png": "r0", "b.png": "r0"})


def sent(*edits: tuple[int, str, Any], table: int = 4) -> dict[str, Any]:
    return {
        "edits": [{"number": n, "table": table, "name": name, "caption": text} for n, name, text in edits]
    }


def test_an_edit_names_the_caption_that_the_browser_showed(shown: Shown) -> None:
    (edit,) = new_edits(shown, sent((1, "a.png", "cat")))
    assert (edit.name, edit.caption, edit.seen) == ("a.png", "cat", "r0")


def test_the_browser_repeats_its_edits_and_each_is_taken_once(shown: Shown) -> None:
    assert len(new_edits(shown, sent((1, "a.png", "cat")))) == 1
    again = new_edits(shown, sent((1, "a.png", "cat"), (2, "b.png", "dog"), (3, "a.png", "cat 2")))
    assert [(edit.name, edit.caption) for edit in again] == [("b.png", "dog"), ("a.png", "cat 2")]
    assert new_edits(shown, sent((1, "a.png", "cat"), (2, "b.png", "dog"), (3, "a.png", "cat 2"))) == []


def test_edits_of_an_earlier_table_are_left_out(shown: Shown) -> None:
    assert new_edits(shown, sent((1, "a.png", "old"), table=3)) == []


@pytest.mark.parametrize(
    "value",
    [
        None, "text", 5, [], {}, {"edits": None}, {"edits": "x"}, {"edits": [None, 1, "x", {}]},
        sent((1, "../c.png", "x")), sent((1, "a.png", None)), sent((1, "a.png", 7)),
        {"edits": [{"number": "1", "table": 4, "name": "a.png", "caption": "x"}]},
        {"edits": [{"number": 1, "table": 4, "name": ["a.png"], "caption": "x"}]},
    ],
)  # fmt: skip
def test_what_is_no_edit_of_this_table_is_left_out(shown: Shown, value: Any) -> None:
    assert new_edits(shown, value) == []


def test_the_table_stays_while_its_rows_are_those_on_disk(shown: Shown) -> None:
    rows = [row("a.png"), row("b.png")]
    assert shown.fits(("pets", 1), rows)
    assert not shown.fits(("pets", 2), rows)
    assert not shown.fits(("pets", 1), [row("a.png", "r1"), row("b.png")])
    assert not shown.fits(("pets", 1), rows[:1])
    shown.stale = True
    assert not shown.fits(("pets", 1), rows)
