"""Planning of class images and masks: counts as the engine has them, and every problem told before a run."""

from pathlib import Path
from typing import Any

import pytest
from test_planning import found, pictures

from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.pictures import read_pictures
from lora_core.planning import plan
from lora_core.reporting import NullReporter
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    with_values,
)

SMALL = {"resolution": (64, 64), "min_bucket_reso": 32, "max_bucket_reso": 128, "bucket_reso_steps": 16}


def a_run(*subsets: SubsetSettings, **values: Any) -> RunConfig:
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/no/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=subsets),)),
    )
    return with_values(run, {**SMALL, "max_train_epochs": 2, **values})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return pictures(tmp_path / "mine", {(64, 64): 3, (128, 32): 2})


@pytest.mark.parametrize(("of_class", "repeats"), [(1, 1), (3, 2), (40, 1), (7, 3)])
def test_class_images_are_planned_as_the_engine_uses_them(
    tmp_path: Path, mine: Path, of_class: int, repeats: int
) -> None:
    folder = pictures(tmp_path / "class", {(64, 64): of_class, (32, 128): 1})
    run = a_run(
        SubsetSettings(image_dir=mine, num_repeats=4),
        SubsetSettings(image_dir=folder, num_repeats=repeats, is_reg=True),
        batch_size=3,
        gradient_accumulation_steps=2,
    )
    planned = plan(run)
    trained = Plan(run, read_pictures(run, NullReporter()).training)
    assert planned is not None
    assert (planned.steps, planned.batches_per_epoch) == (trained.steps, trained.batches_per_epoch)
    counts = {(count.dataset, count.size): count.uses for count in planned.buckets}
    assert counts == trained.bucket_counts()
    assert sum(counts.values()) in range(40, 40 + repeats)  # as many class images as others, 5 x 4


def test_class_images_are_not_held_back(tmp_path: Path, mine: Path) -> None:
    folder = pictures(tmp_path / "class", {(64, 64): 10})
    subsets = SubsetSettings(image_dir=mine), SubsetSettings(image_dir=folder, is_reg=True)
    planned = plan(a_run(*subsets, validation_split=0.4))
    assert planned is not None
    assert (planned.held_out, planned.images) == (2, 6)


def test_class_images_without_images_to_learn_stop_the_run(mine: Path) -> None:
    (problem,) = found(a_run(SubsetSettings(image_dir=mine, is_reg=True)), "is_reg")
    assert problem.severity == "error"


def test_an_empty_folder_of_class_images_stops_the_run(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "class").mkdir()
    subsets = SubsetSettings(image_dir=mine), SubsetSettings(image_dir=tmp_path / "class", is_reg=True)
    stopping = next(p.what for p in found(a_run(*subsets), "image_dir") if p.severity == "error")
    assert "in class" in stopping


def test_fewer_pictures_than_a_batch_takes_stop_the_run(mine: Path) -> None:
    def stops(repeats: int) -> bool:
        problems = found(
            a_run(SubsetSettings(image_dir=mine, num_repeats=repeats), batch_size=6), "batch_size"
        )
        return "error" in [problem.severity for problem in problems]

    assert [stops(repeats) for repeats in (1, 2)] == [True, False]


def test_missing_masks_and_masks_of_another_size_are_named(tmp_path: Path, mine: Path) -> None:
    masks = pictures(tmp_path / "masks", {(64, 64): 3}, caption=None)
    run = a_run(SubsetSettings(image_dir=mine, conditioning_data_dir=masks), masked_loss=True)
    (missing,) = found(run, "conditioning_data_dir")
    assert "003.png, 004.png" in missing.what
    pictures(masks, {(128, 32): 1, (32, 128): 1}, caption=None)
    (wrong,) = found(run, "conditioning_data_dir")
    assert "004.png is 128x32, its mask 32x128" in wrong.what


def test_masks_that_are_named_and_turned_off_are_told_and_the_other_way_round(mine: Path) -> None:
    named = a_run(SubsetSettings(image_dir=mine, conditioning_data_dir=mine))
    assert [p.severity for p in found(named, "conditioning_data_dir")] == ["error"]
    assert [
        p.severity for p in found(a_run(SubsetSettings(image_dir=mine), masked_loss=True), "masked_loss")
    ] == ["advice"]
    clear = SubsetSettings(image_dir=mine, alpha_mask=True)
    assert found(a_run(clear, masked_loss=True), "masked_loss") == []


@pytest.mark.parametrize("key", ["random_crop", "color_aug"])
@pytest.mark.parametrize("cache", ["cache_latents", "cache_latents_to_disk"])
def test_what_changes_a_picture_at_each_use_excludes_a_cache(mine: Path, key: str, cache: str) -> None:
    switched_on: dict[str, Any] = {key: True}
    subset = SubsetSettings(image_dir=mine, **switched_on)
    without = {"cache_latents": False, "cache_latents_to_disk": False}
    (problem,) = found(a_run(subset, **{**without, cache: True}), key)
    assert cache in problem.fix
    assert found(a_run(subset, **without), key) == []


def test_a_weight_of_class_images_that_are_not_there_is_told(mine: Path) -> None:
    (problem,) = found(a_run(SubsetSettings(image_dir=mine), prior_loss_weight=0.5), "prior_loss_weight")
    assert problem.severity == "advice"


def test_a_trigger_word_is_looked_for_in_the_prefix_and_not_in_class_images(
    tmp_path: Path, mine: Path
) -> None:
    of_class = SubsetSettings(
        image_dir=pictures(tmp_path / "class", {(64, 64): 2}, caption="a dog"), is_reg=True
    )
    words = {"metadata_trigger_phrase": "sks"}
    without = a_run(SubsetSettings(image_dir=mine), of_class, **words)
    (problem,) = found(without, "metadata_trigger_phrase")
    assert "5 of 5" in problem.what
    prefixed = a_run(SubsetSettings(image_dir=mine, caption_prefix="sks,"), of_class, **words)
    assert found(prefixed, "metadata_trigger_phrase") == []
