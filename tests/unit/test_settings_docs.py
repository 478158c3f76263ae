"""The page docs/settings.md says what the descriptions say."""

from pathlib import Path

from lora_core.settings import catalogue, docs


def test_the_settings_page_is_up_to_date(tmp_path: Path) -> None:
    docs.main(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == docs.PAGE.read_text("utf-8"), (
        "run python -m lora_core.settings.docs"
    )


def test_the_settings_page_has_one_row_for_each_setting() -> None:
    rows = [line for line in docs.page().splitlines() if line.startswith("| **")]
    assert len(rows) == len(catalogue())
    for s, row in zip(catalogue(), rows, strict=True):
        assert f"`{s.key}`" in row
        assert s.what.replace("|", chr(92) + "|") in row
