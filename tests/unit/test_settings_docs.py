"""The pages docs/settings.md and docs/glossary.md say what the descriptions and the glossary say."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from lora_core.settings import TERMS, catalogue, docs, setting
from lora_core.settings.presets import BASES, composed, offered


def test_the_settings_page_is_up_to_date(tmp_path: Path) -> None:
    docs.main(tmp_path / "page.md", tmp_path / "glossary.md")
    for name, written in (("page.md", docs.PAGE), ("glossary.md", docs.GLOSSARY)):
        assert (tmp_path / name).read_text("utf-8") == written.read_text("utf-8"), (
            "run python -m lora_core.settings.docs"
        )


def test_the_settings_page_has_one_row_for_each_setting() -> None:
    rows = [line for line in docs.page().splitlines() if line.startswith("| **")]
    assert len(rows) == len(catalogue())
    for s, row in zip(catalogue(), rows, strict=True):
        assert f"`{s.key}`" in row
        assert all(text.replace("|", chr(92) + "|") in row for text in (s.what, s.why, s.higher, s.lower))
        assert all(f"`{key}` is " in row for key in s.only)


def test_the_settings_page_tells_what_recipes_set_for_each_base_and_goal() -> None:
    (row,) = [line for line in docs.page().splitlines() if "`learning_rate`" in line[:60]]
    in_presets = row.split(" | ")[4].split("<br>")
    for base in BASES:
        (mine,) = [line for line in in_presets if re.search(rf"\b{base}\b(?=[,:])", line)]
        for goal in offered(base):
            rate = Decimal(str(composed(base, goal).values["learning_rate"]))
            assert f"`{rate:f}`" in mine
            named = re.search(rf"\b{goal}\b(?: and \w+)* `([\d.]+)`", mine)
            assert Decimal(named[1] if named else mine.split("`")[1]) == rate


def test_a_setting_that_every_recipe_sets_alike_is_told_once_and_one_that_none_sets_not_at_all() -> None:
    cells = {
        line.split("`")[1]: line.split(" | ")[4] for line in docs.page().splitlines() if line[:3] == "| *"
    }
    assert cells["seed"] == "`42`"
    assert cells["output_name"] == ""


def test_a_setting_that_a_choice_owns_says_which_and_names_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = ("AdamW", "torch.optim.AdamW", "came_pytorch.CAME", None)
    owned = replace(setting("betas"), only={"optimizer_type": owners, "dora_wd": (True,)})
    monkeypatch.setattr(docs, "catalogue", lambda: (owned,))
    sentence = (
        "It acts only where `optimizer_type` is AdamW, came_pytorch.CAME or empty, and `dora_wd` is true."
    )
    assert sentence in docs.page()


def test_the_glossary_page_has_one_row_for_each_term() -> None:
    rows = [line for line in docs.glossary_page().splitlines() if line.startswith("| **")]
    assert len(rows) == len(TERMS)
    assert all(any(meaning in row for row in rows) for meaning in TERMS.values())
