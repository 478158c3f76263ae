"""Charts: colours that can be seen, words that agree with the numbers, tables that a person can read."""

import math

import plotly.graph_objects as go
import pytest

from ui import charts
from ui.charts import Line

BACKGROUND = {"light": "#F5F2EA", "dark": "#1D1F21"}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_line_stands_out_three_to_one_from_the_page(theme: str) -> None:
    colours = charts.palette(theme)
    seen = {colour: contrast(colour, BACKGROUND[theme]) for colour in (*colours.lines, colours.pale)}
    assert min(seen.values()) >= 3, seen
    assert contrast(colours.text, BACKGROUND[theme]) >= 4.5


def test_without_a_word_from_the_browser_the_light_colours_are_used() -> None:
    assert charts.palette(None) is charts.LIGHT


def lines(count: int) -> list[Line]:
    return [Line(name=f"run {i}", steps=[1, 2], values=[1.0, 0.5]) for i in range(count)]


def drawn(count: int) -> go.Figure:
    return charts.figure(lines(count), y_title="Loss", colours=charts.LIGHT, view="a")


def test_colour_is_never_the_only_difference_between_two_lines() -> None:
    looks = [(trace.line.dash, trace.name) for trace in drawn(4).data]
    assert len({dash for dash, _ in looks}) == 4
    assert len({name for _, name in looks}) == 4


def test_no_two_of_twelve_lines_look_the_same() -> None:
    looks = [(trace.line.color, trace.line.dash) for trace in drawn(12).data]
    assert len(set(looks)) == len(looks)


def test_the_height_does_not_depend_on_the_data() -> None:
    assert drawn(0).layout.height == drawn(6).layout.height == charts.HEIGHT_PX


def test_the_sentence_says_where_the_line_came_from_and_where_it_is() -> None:
    assert (
        charts.change("The loss", [0.5, 0.7, 0.25], steps=40) == "The loss fell from 0.5 to 0.25 in 40 steps."
    )
    assert charts.change("The loss", [0.25, 0.5], steps=2) == "The loss rose from 0.25 to 0.5 in 2 steps."
    assert charts.change("The rate", [0.001, 0.001], steps=9) == "The rate stayed at 0.001 in 9 steps."
    assert charts.change("The loss", [0.5], steps=1) == "The loss is 0.5 after step 1."


def test_whether_the_loss_fell_is_not_left_to_one_step() -> None:
    lucky_start = [0.02, *[0.5] * 9, *[0.3] * 80, *[0.1] * 10]
    told = charts.trend("The smoothed loss", lucky_start, steps=100)
    assert told.startswith("The smoothed loss fell from 0.452 to 0.1 in 100 steps.")
    assert charts.trend("The loss", [0.5, 0.25], steps=2) == "The loss fell from 0.5 to 0.25 in 2 steps."
    assert "no number" in charts.trend("The loss", [0.5] * 40 + [math.nan], steps=41)


def test_a_loss_that_is_no_number_is_said_and_not_hidden() -> None:
    said = charts.change("The loss", [0.5, math.nan], steps=7)
    assert "no number" in said


def test_the_table_is_short_and_holds_the_first_and_the_last_step() -> None:
    long = Line(name="Loss", steps=range(1, 501), values=[1 / step for step in range(1, 501)])
    rows = charts.numbers([long])
    assert len(rows) == charts.TABLE_ROWS
    assert (rows[0]["Step"], rows[-1]["Step"]) == ("1", "500")
    assert rows[-1]["Loss"] == "0.002"


def test_a_line_without_a_value_at_a_step_leaves_its_cell_empty() -> None:
    rows = charts.numbers(
        [Line(name="Loss", steps=[1, 2], values=[1, 1]), Line(name="Test", steps=[2], values=[3])]
    )
    assert rows[0] == {"Step": "1", "Loss": "1", "Test": ""}


def test_a_small_constant_rate_is_drawn_at_its_value() -> None:
    rate = charts.Line(name="Learning rate", steps=[1, 2], values=[1e-3, 1e-3])
    drawn = charts.figure([rate], y_title="Learning rate", colours=charts.LIGHT, view="a", from_zero=True)
    low, high = drawn.layout.yaxis.range
    assert low == 0
    assert 1e-3 < high < 2e-3


def test_names_of_lines_are_no_markup_and_fit_a_chart_of_any_number_of_lines() -> None:
    many = [Line(name="<b>x</b> " + "y" * 99, steps=[1, 2], values=[2, 1])] * 12
    chart = charts.figure(many, y_title="Loss", colours=charts.LIGHT, view="a")
    assert chart.data[0].name.startswith("&lt;b&gt;x&lt;/b&gt; y")
    assert len(chart.data[0].name) < 80
    assert chart.layout.height > charts.HEIGHT_PX, "the names take no room from the lines"
    assert charts.numbers(many)[0]["First"] == "2", (
        "a row for each line: twelve columns would be one too wide"
    )
    few = charts.numbers([Line(name="Step", steps=[1], values=[1]), Line(name="*a*", steps=[1], values=[2])])
    assert few == [{"Step": "1", "Step (1)": "1", "\\*a\\*": "2"}]


def test_a_rate_that_rises_and_falls_is_told_with_its_height() -> None:
    assert charts.course("The rate", [0.0, 2e-3, 1e-9], [1, 20, 70]) == (
        "The rate rose to 0.002 at step 20. After 70 steps it is almost 0."
    )
    assert charts.course("The rate", [0.0, 1e-3], [1, 9]) == "The rate rose from 0 to 0.001 in 9 steps."
