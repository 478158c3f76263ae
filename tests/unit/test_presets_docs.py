"""The page docs/presets.md says what goals, base models and files say."""

from pathlib import Path

from lora_core.settings.presets import BASES, ENGINE_RULES, GOALS, PRESETS, all_ids, composed_by_id, docs


def test_the_presets_page_is_up_to_date(tmp_path: Path) -> None:
    docs.main(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == docs.PAGE.read_text("utf-8"), (
        "run python -m lora_core.settings.presets.docs"
    )


def test_the_page_names_each_goal_base_file_and_engine_rule() -> None:
    text = docs.page()
    for word in (*GOALS, *BASES):
        assert f"`{word}`" in text
    for path in PRESETS.glob("*/*.toml"):
        assert f"### `{path.parent.name}/{path.name}`" in text
    for rule in ENGINE_RULES:
        assert rule.reason in text


def test_the_page_has_each_number_of_each_file_with_its_reason_and_source() -> None:
    text = docs.page()
    for path in PRESETS.glob("*/*.toml"):
        for _, key, value, why, source in docs.lines_of(path):
            assert f"| `{key}` | `{value}` |" in text
            assert f"| {why} | {source} |" in text


def test_the_table_of_rates_is_that_of_the_recipes() -> None:
    rows = {
        line.split("|")[1].strip(" `"): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in docs.page().partition("## Rates")[2].partition("## Goals")[0].splitlines()
        if line.startswith("| `")
    }
    shown = {
        f"{base}.{goal}": cell
        for base, cells in rows.items()
        for goal, cell in zip(GOALS, cells, strict=True)
        if cell != "–"
    }
    assert shown.keys() == set(all_ids())
    for preset, cell in shown.items():
        rate, rank = cell.split(", ")
        values = composed_by_id(preset).values
        assert float(rate.split(" / ")[0]) == values["learning_rate"]
        assert [float(part) for part in rank.split(" / ")] == [values["network_dim"], values["network_alpha"]]
