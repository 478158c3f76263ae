"""The descriptions of settings: complete, plain, within sd-scripts' own list, and acting."""

import math
import random
from pathlib import Path
from typing import Any

import pytest
import textstat

from lora_core.errors import SettingsError
from lora_core.settings import (
    BUILT_IN,
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    Placed,
    Recipe,
    RunConfig,
    Setting,
    SubsetSettings,
    catalogue,
    checked,
    concerns,
    differences,
    dump_config,
    dump_dataset,
    known,
    loads_run,
    parsed,
    placed_values,
    setting,
    typed_number,
    unsupported,
    with_values,
)

EVERY = pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)


def a_run() -> RunConfig:
    subsets = tuple(SubsetSettings(image_dir=Path(f"/data/{name}")) for name in ("one", "two"))
    return RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/models/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=subsets),)),
    )


def run_for(s: Setting) -> RunConfig:
    """A run in which the setting acts: whatever owns it is chosen."""
    return with_values(a_run(), {key: values[0] for key, values in s.only.items()})


def another_value(s: Setting) -> Any:
    """A value of the setting's kind that is not its starting value and that an engine can tell apart."""
    if s.kind == "choice":
        return next(choice for choice in reversed(s.choices) if choice != s.default)
    if s.kind == "whole":
        return int(s.default or s.ge or 1) + 1
    if s.kind == "number":
        return 1.5 if s.gt == 1 else (s.default or 0.25) * 0.5 + 0.0625
    return {
        "flag": not s.default,
        "steps_or_share": 0.0625,
        "text": "né \\u \"quoted\" 'x' #1",
        "path": Path("/a b/C\\new\\table"),
        "pair": (0.5, 0.96875),
        "numbers": (0.5, 0.96875),
        "paths": (Path("/a b/one"), Path("/a b/C\\new\\two")),
        "size": (640, 384),
        "prompts": ('a cat, "sitting"', "trigger --w 64 --h 64 --d 1"),
    }[s.kind]


def of_key(run: RunConfig, key: str) -> list[Placed]:
    return [placed for placed in placed_values(run) if placed.setting.key == key]


@EVERY
def test_a_changed_setting_arrives_through_the_files_at_its_place_and_nowhere_else(s: Setting) -> None:
    changed = with_values(run_for(s), {s.key: another_value(s)})
    arrived = loads_run(dump_config(changed), dump_dataset(changed))
    assert arrived == changed
    assert {repr(placed.value) for placed in of_key(arrived, s.key)} == {repr(another_value(s))}
    assert {difference.setting.key for difference in differences(run_for(s), arrived)} == {s.key}


@EVERY
def test_a_setting_is_written_where_its_description_says(s: Setting) -> None:
    run = with_values(run_for(s), {s.key: another_value(s)})
    config, dataset = dump_config(run), dump_dataset(run)
    if s.place == "argument":
        assert f"\n{s.key} = " in config
    elif s.place in {"dataset", "subset"}:
        assert f"\n{s.key} = " in dataset
    else:
        (line,) = [line for line in config.splitlines() if line.startswith(f"{s.place} = ")]
        assert f'"{s.key}=' in line


@EVERY
def test_a_setting_has_a_label_and_help_in_whole_sentences(s: Setting) -> None:
    assert s.label
    assert not s.label.endswith(".")
    for text in (s.what, s.why):
        assert text[0].isupper() or text.startswith("bf16")
        assert text.endswith(".")


@EVERY
def test_help_reads_at_grade_eight_or_below(s: Setting) -> None:
    grade = textstat.flesch_kincaid_grade(f"{s.label}. {s.what} {s.why}")
    assert grade <= 8, f"{s.key} reads at grade {grade:.1f}"


@EVERY
def test_the_starting_value_fits_its_own_description(s: Setting) -> None:
    if s.default is not None:
        assert checked(s, s.default).value == s.default
        assert s.default in (s.choices_for(BUILT_IN) or [s.default])
        assert s.advice is None or s.default >= (s.advice.low or 0) or s.default == 0


@EVERY
def test_a_key_is_one_that_sd_scripts_reads_at_that_place(s: Setting) -> None:
    arguments = known.tables()["arguments"]
    if s.place == "argument":
        assert s.key in arguments
    if s.argument is not None:
        assert s.argument in arguments


@EVERY
def test_a_value_of_a_wrong_type_is_refused_by_name(s: Setting) -> None:
    wrong: list[Any] = [{"a": 1}, [[1]], object()]
    wrong += [] if s.kind == "text" else [True] if s.kind != "flag" else [1, "true"]
    wrong += ["1e-4", math.nan, math.inf] if s.kind in {"whole", "number", "steps_or_share"} else []
    wrong += [16.0, 10**400] if s.kind == "whole" and s.key != "no limit" else []
    wrong += ["nothing of the kind"] if s.kind in {"choice", "flag", "pair", "size"} else []
    for value in wrong:
        if s.kind == "whole" and value == 10**400 and s.le is None:
            continue
        problem = checked(s, value).problem
        assert problem is not None, f"{value!r} passed"
        assert problem.setting == s.key
        assert s.key in problem.fix


@pytest.mark.parametrize(
    "s",
    [s for s in catalogue() if {s.ge, s.gt, s.le} != {None}],
    ids=lambda s: s.key,
)
def test_a_value_beyond_a_hard_limit_is_refused_and_the_limit_itself_is_not(s: Setting) -> None:
    step = 1 if s.kind == "whole" else 1e-9
    for limit, inside in ((s.ge, 1), (s.le, -1)):
        if limit is not None:
            whole = int(limit) if s.kind == "whole" else limit
            assert checked(s, whole).problem is None
            problem = checked(s, whole - inside * step).problem
            assert problem is not None
            assert "must be" in problem.what
    if s.gt is not None:
        assert checked(s, s.gt).problem is not None


@pytest.mark.parametrize("text", ["1e-4", "0.00012345678901234567", "3", "2.5e-05", ".1"])
def test_a_typed_number_is_kept_to_the_last_bit(text: str) -> None:
    run = with_values(a_run(), {"learning_rate": parsed(setting("learning_rate"), text).value})
    assert loads_run(dump_config(run), dump_dataset(run)).optimizer.learning_rate == float(text)


@pytest.mark.parametrize("text", ["1_000", "٣", "ten", "1e400", "0x10", "nan"])
def test_a_typed_text_that_is_no_number_is_refused_and_not_replaced(text: str) -> None:
    assert parsed(setting("learning_rate"), text).problem is not None


@pytest.mark.parametrize("text", ["9" * 19, "9" * 400, "1" + "0" * 5000])
def test_a_whole_number_that_no_file_holds_is_refused(text: str) -> None:
    for key in ("max_train_epochs", "num_repeats", "lr_warmup_steps"):
        problem = parsed(setting(key), text).problem
        assert problem is not None, key
    assert parsed(setting("max_train_steps"), str(2**63 - 1)).value == 2**63 - 1


def test_one_number_with_a_comma_in_it_is_not_taken_for_two() -> None:
    assert parsed(setting("text_encoder_lr"), "0,00001").problem is not None
    assert parsed(setting("text_encoder_lr"), "1e-5, 0").value == (1e-5, 0)
    assert parsed(setting("text_encoder_lr"), "0.00001,0.5").value == (1e-5, 0.5)


def test_ten_steps_and_a_tenfold_share_stay_two_things() -> None:
    steps, share = (with_values(a_run(), {"lr_warmup_steps": value}) for value in (10, 10.0))
    assert "lr_warmup_steps = 10\n" in dump_config(steps)
    assert "lr_warmup_steps = 10.0\n" in dump_config(share)
    assert [d.setting.key for d in differences(steps, share)] == ["lr_warmup_steps"]


def test_empty_text_unsets_what_may_be_unset_and_nothing_else() -> None:
    assert parsed(setting("max_train_epochs"), " ").value is None
    assert parsed(setting("max_train_epochs"), " ").problem is None
    assert parsed(setting("network_dim"), " ").problem is not None


def test_every_problem_of_a_change_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        with_values(a_run(), {"network_dim": 0, "no_such": 1, "seed": "x"})
    assert [problem.setting for problem in caught.value.problems] == ["network_dim", "no_such", "seed"]


def test_every_described_field_of_every_record_is_in_the_catalogue() -> None:
    described = [(concern, key) for concern, model in concerns().items() for key in model.model_fields]
    listed = [(s.concern, s.key) for s in catalogue()]
    assert set(described) - set(listed) == {
        ("datasets", "subsets"),
        ("datasets", "other"),
        ("subsets", "other"),
    }
    assert len({s.key for s in catalogue()}) == len(listed)


def test_a_recipe_replaces_how_and_leaves_what() -> None:
    run = with_values(a_run(), {"output_name": "mine", "metadata_trigger_phrase": "zog", "network_dim": 4})
    recipe = Recipe(**{c: getattr(with_values(run, {"network_dim": 64}), c) for c in Recipe.model_fields})
    recipe = recipe.model_copy(update={"saving": recipe.saving.model_copy(update={"output_name": "theirs"})})
    mixed = run.with_recipe(recipe)
    assert mixed.network.network_dim == 64
    assert mixed.target == run.target


def test_a_run_within_the_built_in_engine_has_nothing_unsupported() -> None:
    assert unsupported(a_run(), BUILT_IN) == []


@pytest.mark.parametrize(
    ("s", "engine"),
    [(s, engine) for s in catalogue() if s.choices for engine in s.engine_choices],
    ids=lambda value: value.key if isinstance(value, Setting) else value,
)
def test_a_choice_that_an_engine_lacks_is_named_with_those_it_has(s: Setting, engine: str) -> None:
    lacking = next(choice for choice in s.choices if choice not in s.engine_choices[engine])
    (problem,) = unsupported(with_values(run_for(s), {s.key: lacking}), engine)
    assert problem.setting == s.key
    assert all(str(choice) in problem.fix for choice in s.engine_choices[engine])


def test_the_optimizer_name_is_taken_without_regard_to_case_as_sd_scripts_does() -> None:
    for typed, name in (
        ("adamw", "AdamW"),
        ("", "AdamW"),
        ("PRODIGY", "Prodigy"),
        ("came", "came_pytorch.CAME"),
    ):
        assert with_values(a_run(), {"optimizer_type": typed}).optimizer.optimizer_type == name
    assert with_values(a_run(), {"optimizer_type": "nadam"}).optimizer.optimizer_type == "nadam"


@pytest.mark.parametrize("key", ["pretrained_model_name_or_path", "image_dir", "vae", "network_weights"])
@pytest.mark.parametrize("path", ["/pictures/" + "ä" * 128, "a\0b"])
def test_a_path_that_no_file_system_has_is_a_problem_and_no_crash(key: str, path: str) -> None:
    found = checked(setting(key), path)
    assert found.problem is not None
    assert "at most 255 bytes" in found.problem.what
    assert checked(setting(key), "/pictures/" + "ä" * 127).problem is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"), (1e-5, "1e-5"), (8.5e-6, "8.5e-6"), (0.0357, "0.0357"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e20, "1e20"), (1.0, "1"), (0.0, "0"), (-2.5e-10, "-2.5e-10"), (12, "12"), (1e-100, "1e-100"),
    ],
)  # fmt: skip
def test_a_number_is_told_as_people_type_it(value: float, text: str) -> None:
    assert typed_number(value) == text
    assert float(text) == value


def test_no_number_loses_a_digit_on_its_way_into_a_sentence() -> None:
    chance = random.Random(7)  # noqa: S311  the same each time
    for _ in range(2000):
        value = chance.uniform(-1, 1) * 10.0 ** chance.randint(-12, 12)
        assert float(typed_number(value)) == value
        assert "e-0" not in typed_number(value)
        assert "e+" not in typed_number(value)
