"""The charts of the app: lines over training steps, the sentence that says the same, and the numbers below.

Covered: loss, learning rate, and the loss of several runs in one chart, in both themes. Not covered: reading
and reducing the numbers (see `lora_core.runs`) and when a chart is drawn again (see `ui/live_run.py`).

Colours are set on every trace, because plotly takes none from Streamlit's theme palette (1.67). Each line
also has its own dash and its own name, so colour is never the only sign. Charts stand still: no zoom, no
tool bar.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import cycle
from typing import Any, Final, Literal

import plotly.graph_objects as go
import streamlit as st

from ui import feedback, now

MAX_POINTS: Final = 1_000
"""Points of one line. About one for each pixel; a redraw of 2,000 points sent 53 kB (Streamlit 1.67)."""

STEP: Final = "Step"
"""Name of the first column."""
COLUMN: Final = 24
"""Letters of a name above a column."""
COLUMNS: Final = 3
"""Columns of numbers that fit a phone's window, beside that of the steps or the names."""

ENOUGH_FOR_A_MEAN: Final = 2
"""Values; below that, a tenth is no mean."""
TABLE_ROWS: Final = 12
"""Rows of the table under a chart: what a person reads, not what a program needs."""

ALMOST_ZERO: Final = 5e-8
"""Below it, a rate is told in words."""
FONT: Final = '"Source Sans", "Source Sans 3", sans-serif'
"""As the page around it; plotly takes another one by itself."""
HEIGHT_PX: Final = 340
"""The same for every chart and fixed, so that nothing below moves when numbers arrive."""
FEW: Final = 6
"""Lines whose names have room in that height; each one more gets `ROW_PX`."""
ROW_PX: Final = 24
MOST: Final = 12
"""Lines that can be told apart; then a colour comes again with the same dash."""

Mark = Literal["solid", "dot", "dash", "dashdot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    pale: bool = False
    """Drawn thin, in grey: the raw numbers behind a smoothed line."""
    dots: bool = False
    """Drawn with a dot at each value: there are few of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """The colours of a chart in one theme; all of them at least 3 to 1 against the page."""

    text: str
    grid: str
    pale: str
    lines: tuple[str, ...] = field(default=())


LIGHT: Final = Palette(
    text="#33312E",
    grid="#D5D0C4",
    pale="#8A857B",
    lines=("#2B5F6B", "#9A4A1F", "#4B4A9C", "#5B6B1E", "#8A2F62", "#6B4A00"),
)
DARK: Final = Palette(
    text="#E4E1DA",
    grid="#3C4043",
    pale="#83888D",
    lines=("#7CC4D2", "#E8A87C", "#B3B2F0", "#BFCF7A", "#E79CC2", "#E8CF94"),
)
_MARKS: Final[tuple[Mark, ...]] = ("solid", "dash", "dot", "dashdot")


def palette(theme: str | None) -> Palette:
    """The colours for `st.context.theme.type`; light while the browser has not said."""
    return DARK if theme == "dark" else LIGHT


def figure(
    lines: Sequence[Line], *, y_title: str, colours: Palette, view: str, from_zero: bool = False
) -> go.Figure:
    """A chart of `lines` over steps.

    Args:
        lines: at most `MAX_POINTS` points each.
        y_title: what the values are.
        colours: see `palette`.
        view: names what is shown; while it stays the same the browser keeps its view (`uirevision`).
        from_zero: the scale starts at 0, for values whose size matters as such: plotly draws a small
            constant one at "0" on a scale from -0.5 to 1.
    """
    chart = go.Figure()
    strokes = zip(cycle(colours.lines), cycle(_MARKS), strict=False)
    for line in lines:
        colour, mark = (colours.pale, "solid") if line.pale else next(strokes)
        chart.add_trace(
            go.Scatter(
                x=list(line.steps),
                y=list(line.values),
                name=escape(now.short(line.name), quote=False),  # plotly reads names as HTML
                mode="lines+markers" if line.dots else "lines",
                line={"color": colour, "width": 1 if line.pale else 2.5, "dash": mark},
                marker={"size": 7, "color": colour},
            )
        )
    axis = {"gridcolor": colours.grid, "linecolor": colours.text, "zeroline": False, "color": colours.text}
    upright: dict[str, Any] = {**axis, "title": {"text": y_title, "standoff": 14}, "automargin": True}
    highest = max((value for line in lines for value in line.values if math.isfinite(value)), default=0.0)
    if from_zero and highest > 0:
        upright |= {"range": [0, 1.1 * highest], "tickformat": "~g"}
    chart.update_layout(
        height=HEIGHT_PX + ROW_PX * max(0, len(lines) - FEW),
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": colours.text, "size": 15, "family": FONT},
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "font": {"color": colours.text},
            "maxheight": 1.0,
        },
        showlegend=True,
        uirevision=view,
        xaxis={**axis, "title": {"text": "Step"}, "rangemode": "tozero"},
        yaxis=upright,
    )
    return chart


def draw(
    lines: Sequence[Line], *, sentence: str, y_title: str, key: str, table: str, from_zero: bool = False
) -> None:
    """The sentence, the chart with the same sentence for screen readers, and its numbers in a closed box.

    Args:
        lines: what is drawn.
        sentence: what the chart says, in words.
        y_title: what the values are.
        key: stable name of this chart on its page.
        table: label of the box with the numbers.
        from_zero: see `figure`.
    """
    colours = palette(st.context.theme.type)
    st.write(feedback.spoken(sentence))
    st.plotly_chart(
        figure(lines, y_title=y_title, colours=colours, view=key, from_zero=from_zero),
        theme=None,  # the colours are ours; see the top of this file
        key=key,
        config={"staticPlot": True, "displayModeBar": False},
        alt=sentence,
    )
    with st.expander(table):
        st.table(numbers(lines), hide_index=True, alt=table)


def course(name: str, values: Sequence[float], steps: Sequence[float]) -> str:
    """What a rate does: `change`, and where it goes up and comes down again also how high it was."""
    first, highest, last = (short(value) for value in (values[0], max(values), values[-1]))
    if highest in {first, last}:
        return change(name, values, steps=steps[-1])
    at = steps[values.index(max(values))]
    return f"{name} rose to {highest} at step {at:.0f}. After {steps[-1]:.0f} steps it is {last}."


def change(name: str, values: Sequence[float], *, steps: float) -> str:
    """What a line says: `The loss fell from 0.31 to 0.12 in 400 steps.`"""
    first, last = values[0], values[-1]
    if not math.isfinite(last):
        return (
            f"{name} is no number any more after {steps:.0f} steps. The training learns nothing from here on."
        )
    if len(values) == 1:
        return f"{name} is {short(last)} after step {steps:.0f}."
    if short(first) == short(last):
        return f"{name} stayed at {short(last)} in {steps:.0f} steps."
    verb = "fell" if last < first else "rose"
    return f"{name} {verb} from {short(first)} to {short(last)} in {steps:.0f} steps."


def trend(name: str, values: Sequence[float], *, steps: float) -> str:
    """As `change`, from a tenth of the values at each end: the loss of one step is chance."""
    tenth = len(values) // 10
    if tenth < ENOUGH_FOR_A_MEAN or not math.isfinite(values[-1]):
        return change(name, values, steps=steps)
    first, last = (sum(part) / tenth for part in (values[:tenth], values[-tenth:]))
    if not math.isfinite(first + last) or short(first) == short(last):
        return change(name, [first, last], steps=steps)
    verb = "fell" if last < first else "rose"
    return (
        f"{name} {verb} from {short(first)} to {short(last)} in {steps:.0f} steps. "
        "These are means of the first tenth and of the last."
    )


def short(value: float) -> str:
    """A number with three digits that count; small rates in the form that people type, such as `2e-05`.

    A rate that has faded away is told in words: no recipe begins with one so small.
    """
    return "almost 0" if 0 < abs(value) < ALMOST_ZERO else f"{value:.3g}"


def numbers(lines: Sequence[Line], *, rows: int = TABLE_ROWS) -> list[dict[str, Any]]:
    """At most `rows` rows, evenly spaced over the steps, the first and the last step among them.

    A line without a value at a step has an empty cell there. Where there are too many lines for columns, each
    has a row with its first and its last value.
    """
    if len(lines) > COLUMNS:
        return [
            {
                "Name": feedback.spoken(line.name),
                "First": short(line.values[0]),
                "Last": short(line.values[-1]),
                "At step": f"{line.steps[-1]:.0f}",
            }
            for line in lines
        ]
    at = [dict(zip(line.steps, line.values, strict=True)) for line in lines]
    names = _columns([line.name for line in lines])
    steps = sorted({step for line in lines for step in line.steps})
    if len(steps) > rows:
        steps = [steps[round(i * (len(steps) - 1) / (rows - 1))] for i in range(rows)]
    return [
        {STEP: f"{step:.0f}"} | {name: _cell(values, step) for name, values in zip(names, at, strict=True)}
        for step in steps
    ]


def _cell(values: Mapping[float, float], step: float) -> str:
    return short(values[step]) if step in values else ""


def _columns(names: Sequence[str]) -> list[str]:
    """Names as they stand above columns; those that are alike get their place behind them."""
    cut = [now.short(name, COLUMN) for name in names]
    return [
        feedback.spoken(f"{name} ({place})" if [STEP, *cut].count(name) > 1 else name)
        for place, name in enumerate(cut, 1)
    ]
