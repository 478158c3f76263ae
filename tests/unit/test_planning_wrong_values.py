"""For every setting: a wrong type or a value beyond a limit is one clear problem, and nothing more."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lora_core.errors import Problem, SettingsError
from lora_core.planning import check, estimate
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    Setting,
    SubsetSettings,
    catalogue,
    checked,
    loads_run,
    parsed,
    setting,
    with_values,
)
from lora_core.workspace import Workspace


class Strange:
    """An object of a kind that no file and no form can give."""


def beyond(s: Setting) -> Iterator[Any]:
    """Values just beyond the hard limits of a number."""
    whole = s.kind == "whole"
    if s.ge is not None:
        yield int(s.ge) - 1 if whole else s.ge - 1e-6
    if s.gt is not None:
        yield s.gt
    if s.le is not None:
        yield int(s.le) + 1 if whole else s.le * (1 + 1e-6) + 1e-9
    if s.lt is not None:
        yield s.lt


WRONG: dict[str, list[Any]] = {
    "flag": [1, 0, "true", "yes", None, [True]],
    "whole": ["5", 1.5, True, math.nan, [1], {"a": 1}],
    "number": ["0.1", True, math.nan, math.inf, -math.inf, [0.1], {"a": 1}],
    "steps_or_share": ["10%", True, math.nan, [1]],
    "text": [5, 1.5, True, ["a"], {"a": 1}],
    "choice": ["nothing like it", 5.5, ["no"], ""],
    "path": [5, True, ["a"], ""],
    "pair": [0.9, [0.9], [0.9, "x"], [0.9, 0.9, 0.9], "0.9 and 0.99"],
    "size": [8, "large", [512, 8], [1, 2, 3], True, 10**6],
    "prompts": [5, [5], {"a": 1}, True],
    "numbers": ["1e-5", [], [True], ["x"], {"a": 1}],
    "paths": ["a", [5], [], True],
}
EVERY: list[Any] = [Strange(), b"bytes", {"a": [{}]}, object]


def wrong(s: Setting) -> list[Any]:
    """Values that `s` cannot have."""
    return [
        value
        for value in (*WRONG[s.kind], *beyond(s), *EVERY)
        # sd-scripts writes the two numbers of one setting as one text.
        if not (s.key == "face_crop_aug_range" and isinstance(value, str))
        and not (value is None and s.optional)
    ]


@pytest.fixture(scope="module")
def run() -> RunConfig:
    subset = SubsetSettings(image_dir=Path("/no/images"))
    return RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/no/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=(subset,)),)),
    )


def clear(problem: Problem, s: Setting) -> None:
    assert problem.setting == s.key
    assert problem.severity == "error"
    assert problem.what.startswith("It must be ")
    assert problem.what.endswith(".")
    assert problem.fix.endswith(".")
    assert len(problem.what) < 500


@pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)
def test_a_value_that_cannot_be_is_exactly_one_clear_problem(s: Setting, run: RunConfig) -> None:
    for value in wrong(s):
        result = checked(s, value)
        assert result.problem is not None, f"{s.key} took {value!r}"
        assert result.value is None, repr(value)
        clear(result.problem, s)
        with pytest.raises(SettingsError) as told:
            with_values(run, {s.key: value})
        assert told.value.problems == (result.problem,), repr(value)


@pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)
def test_a_wrong_value_in_a_file_is_exactly_one_problem_there(s: Setting) -> None:
    value = {"flag": 1, "text": 5, "path": 5, "choice": "nothing like it"}.get(s.kind, True)
    line = f"{s.key} = {json.dumps(value)}\n"
    config, dataset, subset = 'pretrained_model_name_or_path = "/no/base"\n', "", ""
    if s.key == "pretrained_model_name_or_path":
        config = line
    elif s.place == "argument":
        config += line
    elif s.place == "dataset":
        dataset = line
    elif s.place == "subset":
        subset = line
    else:
        text = {"text": None, "choice": "nothing like it"}.get(s.kind, "strange")
        if text is None:
            pytest.skip("there, every value is text")
        if s.key == "betas":
            pytest.skip("some optimizers take another shape there")
        items = {s.place: [f"{s.key}={text}"]}
        for owner, values in s.only.items():  # what no chosen type owns is not looked at
            chosen = next((value for value in values if value not in {None, ""}), None)
            if chosen is None:  # it acts where the owner is left out
                continue
            if (place := setting(owner).place) == "argument":
                config += f"{owner} = {json.dumps(chosen)}\n"
            else:
                items.setdefault(place, []).append(f"{owner}={chosen}")
        config += "".join(f"{place} = {json.dumps(texts)}\n" for place, texts in items.items())
    image_dir = "" if s.key == "image_dir" else 'image_dir = "/no/images"\n'
    with pytest.raises(SettingsError) as told:
        loads_run(config, f"[[datasets]]\n{dataset}[[datasets.subsets]]\n{image_dir}{subset}")
    (problem,) = told.value.problems
    assert problem.setting == s.key


RUBBISH = [
    "", " ", "nan", "inf", "1e999", "-1", "0x10", "1_000", "\u0661\u0662", "[[[[", "{", "__import__('os')",
    "\x00", "9" * 5000, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", RUBBISH, ids=range(len(RUBBISH)))
def test_whatever_is_typed_into_a_field_is_a_value_or_one_problem(text: str) -> None:
    for s in catalogue():
        result = parsed(s, text)
        if result.problem is not None:
            clear(result.problem, s)


def test_a_run_whose_every_setting_is_odd_is_checked_and_estimated_without_an_error(
    tmp_path: Path, run: RunConfig
) -> None:
    """At the limits that are still allowed, together: the checks find much, and none of them fails."""
    workspace = Workspace.open(tmp_path)
    for side in ("ge", "le"):
        values = {
            s.key: (int(limit) if s.kind == "whole" else float(limit))
            for s in catalogue()
            if s.kind in {"whole", "number"} and (limit := getattr(s, side)) is not None
        }
        odd = with_values(run, values)
        assert check(odd, "diffusers", workspace)
        assert estimate(odd, "diffusers", workspace).line("time") is not None
