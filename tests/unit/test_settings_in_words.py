"""Two recipes compared in words: what changed, and what the change does."""

from pathlib import Path
from typing import Any

import pytest

from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    Recipe,
    RunConfig,
    Setting,
    SubsetSettings,
    catalogue,
    compared,
    direction_words,
    in_words,
    setting,
    with_values,
)


def a_run(*folders: str) -> RunConfig:
    subsets = tuple(SubsetSettings(image_dir=Path(f"/data/{name}")) for name in folders or ("one",))
    return RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/models/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=subsets),)),
    )


def lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return compared(with_values(a_run(), before), with_values(a_run(), after))


def test_equal_recipes_have_nothing_to_tell() -> None:
    assert compared(a_run(), a_run()) == []
    assert compared({}, {}) == []
    assert compared(Recipe(), Recipe()) == []


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [({"keep_tokens": 1}, {"keep_tokens": 2}, "higher"), ({"keep_tokens": 2}, {"keep_tokens": 1}, "lower")],
)
def test_a_number_is_told_with_what_its_direction_does(
    before: dict[str, Any], after: dict[str, Any], direction: str
) -> None:
    (line,) = lines(before, after)
    effect = getattr(setting("keep_tokens"), direction)
    assert line == (
        f"Tags that stay in front: {after['keep_tokens']} instead of {before['keep_tokens']}. {effect}"
    )


def test_a_switch_is_on_or_off() -> None:
    (line,) = lines({}, {"flip_aug": True})
    assert line == f"Mirror half of the images: on instead of off. {setting('flip_aug').higher}"


def test_a_value_that_was_not_set_is_told_with_what_it_is_for() -> None:
    (line,) = lines({}, {"noise_offset": 0.05})
    assert line == f"Noise offset: 0.05 instead of not set. {setting('noise_offset').what}"
    assert lines({"noise_offset": 0.05}, {}) == ["Noise offset: not set instead of 0.05."]


def test_a_size_and_a_choice_of_numbers_have_directions_too() -> None:
    (line,) = lines({}, {"resolution": (768, 512)})
    assert line.startswith("Training size: 768 by 512 pixels instead of 512 by 512 pixels. ")
    assert line.endswith(setting("resolution").higher)
    assert lines({}, {"resolution": (768, 256)}) == [
        "Training size: 768 by 256 pixels instead of 512 by 512 pixels."
    ]
    (line,) = lines({"max_token_length": 225}, {"max_token_length": 150})
    assert line.endswith(setting("max_token_length").lower)


def test_steps_and_a_share_are_told_apart() -> None:
    (line,) = lines({"lr_warmup_steps": 10}, {"lr_warmup_steps": 10.0})
    assert line == "Warm-up: a share of 10 instead of 10 steps."


def test_numbers_are_shown_as_people_write_them_and_lose_no_digit() -> None:
    rate = setting("learning_rate")
    assert in_words(rate, 1e-5) == "0.00001"
    assert in_words(rate, 1.0) == "1"
    assert in_words(rate, 0.1 + 0.2) == "0.30000000000000004"
    assert in_words(rate, 1e-300) == "1e-300"


@pytest.mark.parametrize("s", catalogue(), ids=lambda s: s.key)
def test_every_setting_has_words_for_its_directions_and_its_values(s: Setting) -> None:
    assert all(direction_words(s))
    assert in_words(s, s.default)


def test_paths_and_texts_are_short() -> None:
    (line,) = lines({}, {"training_comment": "a\nb " * 50})
    assert "\n" not in line
    assert len(line) < 200
    (line,) = lines({}, {"vae": Path("/somewhere/else/fine.safetensors")})
    assert "fine.safetensors" in line
    assert "somewhere" not in line


def test_folders_are_compared_one_by_one_and_named_where_there_are_more() -> None:
    before, after = a_run("one", "two"), a_run("one", "two")
    first = after.dataset.datasets[0]
    changed = first.subsets[1].model_copy(update={"num_repeats": 3})
    after = after.model_copy(
        update={
            "dataset": DatasetFile(
                datasets=(first.model_copy(update={"subsets": (first.subsets[0], changed)}),)
            )
        }
    )
    (line,) = compared(before, after)
    assert line.startswith("Repeats (folder 2 of dataset 1): 3 instead of 1. ")


def test_a_folder_that_one_run_lacks_is_told_once() -> None:
    assert compared(a_run("one"), a_run("one", "two")) == ["Folder of images: two is new."]
    assert compared(a_run("one", "two"), a_run("one")) == ["Folder of images: two is left out."]
    assert compared(a_run("one"), a_run("two")) == ["Folder of images: two instead of one."]


def test_values_by_key_compare_with_each_other_and_with_a_run() -> None:
    run = a_run("one", "two")
    assert compared({}, run) == []
    assert compared(run, {}) == []
    by_key = {"learning_rate": 1, "betas": [0.9, 0.99], "shuffle_caption": True}
    (*_, shuffled, _) = compared(run, by_key)
    assert shuffled.startswith("Shuffle the tags (folder 1 of dataset 1): on instead of off.")
    assert compared(with_values(run, by_key), by_key) == []
    assert compared({"learning_rate": 1}, {"learning_rate": 1.0}) == []
    (line,) = compared({"output_name": "a"}, {"output_name": "b"})
    assert line == "Name of the LoRA file: b instead of a."


def test_a_recipe_alone_compares_with_a_run_in_what_it_holds() -> None:
    run = with_values(a_run(), {"seed": 7, "output_name": "mine", "flip_aug": True})
    (line,) = compared(Recipe(), run)
    assert line.startswith("Seed: 7 instead of 42.")


def test_what_is_short_for_both_sides_is_still_told_apart() -> None:
    path = "pretrained_model_name_or_path"
    same_name = lines({path: Path("/a/x.safetensors")}, {path: Path("/b/x.safetensors")})
    assert "/b/x.safetensors instead of" in same_name[0].replace("\\", "/")
    (folder,) = compared(a_run("a/cat"), a_run("b/cat"))
    assert "b/cat instead of" in folder.replace("\\", "/")
    (prompts,) = lines({"sample_prompts": ("a", "b")}, {"sample_prompts": ("a", "c")})
    assert "2 lines, and not the same" in prompts
    (comment,) = lines({"training_comment": "x" * 80}, {"training_comment": "x" * 79 + "y"})
    assert "another text" in comment


def test_what_no_setting_describes_is_compared_too() -> None:
    run = a_run()
    before = run.model_copy(update={"other": {"optimizer_args": ["k=0.5", "m=1"], "save_clip": True}})
    after = run.model_copy(update={"other": {"optimizer_args": ["k=0.9", "m=1"], "my_key": 3}})
    assert compared(before, after) == [
        "optimizer_args k: 0.9 instead of 0.5.",
        "save_clip: not set instead of True.",
        "my_key: 3 instead of not set.",
    ]
