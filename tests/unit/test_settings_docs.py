"""The pages docs/settings.md and docs/glossary.md say what the descriptions and the glossary say."""

from pathlib import Path

from lora_core.settings import TERMS, catalogue, docs


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


def test_the_glossary_page_has_one_row_for_each_term() -> None:
    rows = [line for line in docs.glossary_page().splitlines() if line.startswith("| **")]
    assert len(rows) == len(TERMS)
    assert all(any(meaning in row for row in rows) for meaning in TERMS.values())
