"""The theme: every pair of colours that stands together has the contrast that WCAG asks for."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEME = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))["theme"]
MODES = ("light", "dark")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", MODES)
def test_text_reads_well_on_both_backgrounds_and_is_softer_than_black_on_white(mode: str) -> None:
    colours = THEME[mode]
    for background in ("backgroundColor", "secondaryBackgroundColor"):
        assert 7 <= contrast(colours["textColor"], colours[background]) <= 14
        assert contrast(colours["linkColor"], colours[background]) >= 4.5


@pytest.mark.parametrize("mode", MODES)
def test_the_main_button_reads_well_and_stands_out(mode: str) -> None:
    colours = THEME[mode]
    assert contrast("#FFFFFF", colours["primaryColor"]) >= 4.5
    for background in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(colours["primaryColor"], colours[background]) >= 3


@pytest.mark.parametrize("mode", MODES)
def test_the_border_of_a_field_can_be_seen(mode: str) -> None:
    colours = THEME[mode]
    for background in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(colours["borderColor"], colours[background]) >= 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("colour", ["green", "blue", "yellow", "red"])
def test_messages_read_well(mode: str, colour: str) -> None:
    colours = THEME[mode]
    assert contrast(colours[f"{colour}TextColor"], colours[f"{colour}BackgroundColor"]) >= 4.5
