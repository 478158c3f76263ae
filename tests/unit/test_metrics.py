"""Curves: read while they grow, thinned without losing their peaks, smoothed without a bias."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_core.jobs import Job
from lora_core.runs import Curve, Progress, overlay, read_curve, thin


def record(number: int, mean: float = 1.0, **rest: Any) -> str:
    return (
        json.dumps({"kind": "step", "step": number, "loss": mean, "lr": 1e-3, "time": 100.0 + number} | rest)
        + "\n"
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "progress.jsonl"


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(text)


# --- following --------------------------------------------------------------------------------------


def test_a_run_without_a_step_has_an_empty_curve(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    assert not progress.refresh()
    assert len(progress.curve) == 0


def test_only_what_is_new_is_read(file: Path) -> None:
    progress = Progress(file.parent)
    append(file, json.dumps({"kind": "start", "total": 500}) + "\n" + record(1))
    assert progress.refresh()
    assert not progress.refresh(), "nothing new"
    append(file, record(2, 0.5))
    assert progress.refresh()
    assert (progress.curve.steps, progress.curve.loss) == ([1, 2], [1.0, 0.5])
    assert (progress.curve.lr, progress.curve.times) == ([1e-3, 1e-3], [101.0, 102.0])
    assert progress.total == 500


def test_a_line_that_is_being_written_waits_for_its_rest(file: Path) -> None:
    progress = Progress(file.parent)
    line = record(2)
    append(file, record(1) + line[:10])
    progress.refresh()
    assert progress.curve.steps == [1]
    append(file, line[10:])
    progress.refresh()
    assert progress.curve.steps == [1, 2]


@pytest.mark.parametrize(
    "rubbish",
    ["{", "null", "[]", '{"step": "x", "loss": 1}', '{"step": 2}', '{"step": 2, "loss": "y"}', "\x00\x00"],
)
def test_a_line_of_rubbish_costs_only_itself(file: Path, rubbish: str) -> None:
    append(file, record(1) + rubbish + "\n" + record(3))
    assert read_curve(file.parent).steps == [1, 3]


@pytest.mark.parametrize("key", ["step", "loss", "validation_loss", "lr", "time"])
def test_a_number_that_no_float_holds_costs_only_itself(file: Path, key: str) -> None:
    append(file, record(1) + record(2, **{key: 10**400}) + record(3))
    assert read_curve(file.parent).steps in ([1, 3], [1, 2, 3])


def test_validation_has_steps_of_its_own(file: Path) -> None:
    append(file, record(1) + record(2) + json.dumps({"step": 2, "validation_loss": 0.25}) + "\n" + record(3))
    curve = read_curve(file.parent)
    assert (curve.validation_steps, curve.validation) == ([2], [0.25])
    assert curve.steps == [1, 2, 3]


def test_steps_done_again_replace_those_of_before(file: Path) -> None:
    append(file, "".join(record(step, 9.0) for step in range(1, 8)))
    append(file, json.dumps({"step": 6, "validation_loss": 9.0}) + "\n")
    progress = Progress(file.parent)
    progress.refresh()
    append(file, record(5, 1.0) + record(6, 1.0))
    progress.refresh()
    assert progress.curve.steps == [1, 2, 3, 4, 5, 6]
    assert progress.curve.loss == [9.0] * 4 + [1.0] * 2
    assert progress.curve.validation == []
    assert progress.curve == read_curve(file.parent), "followed or read at once: the same"


def test_a_file_written_anew_is_read_anew(file: Path) -> None:
    append(file, "".join(record(step) for step in range(1, 8)))
    progress = Progress(file.parent)
    progress.refresh()
    new = file.with_name("new")
    new.write_text(record(1) + record(2))
    new.replace(file)
    assert progress.refresh()
    assert progress.curve.steps == [1, 2]


def test_a_loss_that_is_not_a_number_is_shown_and_spoils_no_later_mean(file: Path) -> None:
    append(file, record(1, 2.0) + record(2, math.nan) + record(3, 2.0))
    curve = read_curve(file.parent)
    assert math.isnan(curve.loss[1])
    assert curve.smoothed == pytest.approx([2.0, 2.0, 2.0])


def test_the_smoothed_loss_is_not_pulled_towards_its_start(file: Path) -> None:
    append(file, "".join(record(step, 5.0) for step in range(1, 30)))
    assert read_curve(file.parent).smoothed == pytest.approx([5.0] * 29)


def test_the_smoothed_loss_follows_the_mean_of_its_window(file: Path) -> None:
    append(file, record(1, 1.0) + record(2, 3.0))
    progress = Progress(file.parent, smoothing=0.5)
    progress.refresh()
    # Weights 0.25 and 0.5 of the two steps, divided by their sum.
    assert progress.curve.smoothed == pytest.approx([1.0, 7 / 3])


# --- thinning ---------------------------------------------------------------------------------------------


def curve_of(losses: list[float]) -> Curve:
    steps = list(range(1, len(losses) + 1))
    return Curve(
        steps=steps, loss=losses, smoothed=list(losses), lr=[0.0] * len(losses), times=[0.0] * len(losses)
    )


def test_a_short_curve_is_left_as_it_is() -> None:
    curve = curve_of([3.0, 2.0, 1.0])
    assert thin(curve, 3) == curve


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=400), st.integers(2, 60))
def test_a_thinned_curve_keeps_its_ends_and_its_extremes(losses: list[float], max_points: int) -> None:
    shown = thin(curve_of(losses), max_points)
    assert len(shown) <= max(2, max_points)
    assert (shown.steps[0], shown.steps[-1]) == (1, len(losses))
    assert shown.steps == sorted(set(shown.steps))
    assert all(shown.loss[i] == losses[step - 1] for i, step in enumerate(shown.steps))
    if max_points >= 4:
        assert (min(shown.loss), max(shown.loss)) == (min(losses), max(losses))


def test_a_single_peak_among_many_steps_is_still_seen() -> None:
    losses = [1.0] * 20_000
    losses[12_345] = 50.0
    shown = thin(curve_of(losses))
    assert len(shown) <= 1_000
    assert 50.0 in shown.loss


def test_a_loss_that_is_not_a_number_is_kept() -> None:
    losses = [1.0] * 5_000
    losses[2_222] = math.nan
    assert any(math.isnan(loss) for loss in thin(curve_of(losses)).loss)


# --- several runs -----------------------------------------------------------------------------------------


def test_runs_of_one_name_are_told_apart_and_empty_ones_left_out(tmp_path: Path) -> None:
    runs = []
    for number, name in enumerate(["cat", "dog", "cat", "empty"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        if name != "empty":
            (folder / "progress.jsonl").write_text(record(1, float(number)))
        runs.append(Job(id=str(number), kind="train", name=name, folder=folder, created=0.0))
    assert [(entry.label, entry.curve.loss) for entry in overlay(runs)] == [
        ("cat (1)", [0.0]),
        ("dog", [1.0]),
        ("cat (2)", [2.0]),
    ]
