"""Planning: every problem at once, and the exact number of steps."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_core.datasets.buckets import Size
from lora_core.errors import EngineError, Problem
from lora_core.planning import check, checks, look_at_images, plan
from lora_core.planning.steps import split_sizes
from lora_core.settings import (
    BUILT_IN,
    SD_SCRIPTS,
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    with_values,
)
from lora_core.workspace import Workspace, write_json

SMALL = {"resolution": (64, 64), "min_bucket_reso": 32, "max_bucket_reso": 128, "bucket_reso_steps": 16}


def pictures(folder: Path, sizes: Mapping[tuple[int, int], int], caption: str | None = "zog, red") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.glob("*.png")))
    for size, count in sizes.items():
        for _ in range(count):
            path = folder / f"{start:03d}.png"
            Image.new("RGB", size, (start, 0, 0)).save(path)
            if caption is not None:
                path.with_suffix(".txt").write_text(caption, "utf-8")
            start += 1
    return folder


def a_run(*folders: Path, repeats: int = 1, **values: Any) -> RunConfig:
    subsets = tuple(SubsetSettings(image_dir=folder, num_repeats=repeats) for folder in folders)
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/no/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=subsets),)),
    )
    return with_values(run, {**SMALL, **values})


def found(run: RunConfig, key: str, workspace: Workspace | None = None) -> list[Problem]:
    return [problem for problem in check(run, "diffusers", workspace) if problem.setting == key]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pictures(tmp_path / "images", {(64, 64): 6})


def test_repeats_multiply_the_images_of_a_bucket(folder: Path) -> None:
    found = plan(a_run(folder, repeats=5, batch_size=2, max_train_epochs=3))
    assert found is not None
    assert (found.images, found.steps_per_epoch, found.steps, found.epochs) == (6, 15, 45, 3)


def test_each_bucket_rounds_up_its_own_last_batch_and_accumulation_once_an_epoch(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", {(64, 64): 3, (128, 32): 3})
    found = plan(a_run(folder, batch_size=2, gradient_accumulation_steps=3, max_train_epochs=2))
    assert found is not None
    assert [(str(count.size), count.uses, count.batches) for count in found.buckets] == [
        ("64x64", 3, 2),
        ("128x32", 3, 2),
    ]
    assert (found.batches_per_epoch, found.steps_per_epoch, found.steps) == (4, 2, 4)


def test_a_number_of_steps_begins_as_many_epochs_as_it_needs(folder: Path) -> None:
    found = plan(a_run(folder, batch_size=2, max_train_steps=10))
    assert found is not None
    assert (found.steps, found.epochs, found.saves_by_epoch) == (10, 4, 3)


def test_two_folders_of_one_dataset_share_their_buckets(folder: Path, tmp_path: Path) -> None:
    other = pictures(tmp_path / "other", {(64, 64): 1})
    found = plan(a_run(folder, other, batch_size=7, max_train_epochs=1))
    assert found is not None
    assert found.steps == 1


def test_held_out_images_are_not_learned_from(folder: Path) -> None:
    found = plan(a_run(folder, validation_split=0.5, max_train_epochs=1))
    assert found is not None
    assert (found.images, found.held_out, found.steps) == (3, 3, 3)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_images_held_back_are_those_that_the_built_in_engine_holds_back(seed: int) -> None:
    from lora_core.engines.diffusers.pictures import split

    sizes = [Size(16 * n, 16) for n in range(1, 30)]
    assert split_sizes(sizes, 0.3, seed) == split(sizes, 0.3, seed)  # type: ignore[arg-type]  any items do


@pytest.mark.parametrize("seed", range(3))
def test_the_steps_are_those_that_the_built_in_engine_counts(tmp_path: Path, seed: int) -> None:
    from lora_core.engines.diffusers.batches import Plan as EnginePlan
    from lora_core.engines.diffusers.pictures import read_pictures
    from lora_core.reporting import NullReporter

    rng = random.Random(seed)  # noqa: S311  made-up pictures, no secret
    sizes = {(rng.randrange(40, 160), rng.randrange(40, 160)): rng.randrange(1, 4) for _ in range(5)}
    run = a_run(
        pictures(tmp_path / "images", sizes),
        repeats=rng.randrange(1, 4),
        batch_size=rng.randrange(1, 4),
        gradient_accumulation_steps=rng.randrange(1, 3),
        validation_split=rng.choice([0.0, 0.25]),
        max_train_epochs=2,
    )
    engine = EnginePlan(run, read_pictures(run, NullReporter()).training)
    ours = plan(run)
    assert ours is not None
    assert (ours.steps, ours.steps_per_epoch, ours.epochs) == (
        engine.steps,
        engine.steps_per_epoch,
        engine.epochs,
    )


def test_without_images_there_is_no_plan_but_a_problem(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        assert plan(a_run(folder)) is None
        assert [problem.severity for problem in found(a_run(folder), "image_dir")] == ["error"]


def test_errors_come_first_and_every_problem_is_there(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "images", {(64, 64): 2}, caption=None)
    run = a_run(
        folder,
        lr_scheduler="constant",
        lr_warmup_steps=5,
        conv_alpha=1.0,
        min_bucket_reso=96,
        sample_prompts=tmp_path / "none.txt",
        resume=tmp_path / "gone",
        network_dim=999,
    )
    problems = check(run, "diffusers")
    severities = [problem.severity for problem in problems]
    assert severities == sorted(severities, key=["error", "advice"].index)
    assert {p.setting for p in problems if p.severity == "error"} >= {
        "pretrained_model_name_or_path",
        "lr_warmup_steps",
        "min_bucket_reso",
        "sample_prompts",
        "resume",
    }
    assert {p.setting for p in problems if p.severity == "advice"} >= {
        "image_dir",
        "conv_alpha",
        "network_dim",
    }


def test_a_plain_run_with_good_images_has_no_advice(tmp_path: Path) -> None:
    run = a_run(pictures(tmp_path / "images", {(64, 64): 6}), metadata_trigger_phrase="zog")
    assert {p.setting for p in check(run, "diffusers")} == {"pretrained_model_name_or_path"}


def test_few_images_are_told_and_do_not_stop_the_run(tmp_path: Path) -> None:
    (problem,) = found(a_run(pictures(tmp_path / "images", {(64, 64): 4})), "image_dir")
    assert problem.severity == "advice"
    assert "4 pictures" in problem.what


def test_captions_without_the_trigger_word_are_counted(folder: Path) -> None:
    pictures(folder, {(64, 64): 2}, caption="a red thing")
    (problem,) = found(a_run(folder, metadata_trigger_phrase="Zog"), "metadata_trigger_phrase")
    assert "2 of 8 captions" in problem.what


def test_a_folder_of_ordinary_pictures_needs_no_trigger_word(folder: Path, tmp_path: Path) -> None:
    ordinary = pictures(tmp_path / "ordinary", {(64, 64): 6}, caption="a red star")
    assert found(a_run(folder, ordinary, metadata_trigger_phrase="zog"), "metadata_trigger_phrase") == []
    (problem,) = found(a_run(ordinary, metadata_trigger_phrase="zog"), "metadata_trigger_phrase")
    assert "6 of 6 captions" in problem.what


def test_a_trigger_word_that_shuffling_moves_is_told(folder: Path) -> None:
    run = a_run(folder, metadata_trigger_phrase="zog", shuffle_caption=True)
    assert len(found(run, "keep_tokens")) == 1
    assert found(with_values(run, {"keep_tokens": 1}), "keep_tokens") == []


def test_images_without_a_caption_are_named_unless_the_folder_has_one_for_them(folder: Path) -> None:
    pictures(folder, {(64, 64): 1}, caption=None)
    (problem,) = found(a_run(folder), "image_dir")
    assert "006.png" in problem.what
    assert found(a_run(folder, class_tokens="zog"), "image_dir") == []


def test_a_broken_image_is_told_and_does_not_stop_the_run(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"rubbish")
    (problem,) = found(a_run(folder), "image_dir")
    assert problem.severity == "advice"
    assert "broken.png" in problem.what


def test_a_caption_that_is_not_text_stops_the_run(folder: Path) -> None:
    (folder / "000.txt").write_bytes(b"\xff\xfe\x00")
    assert ("error", True) in [(p.severity, "000" in p.what) for p in found(a_run(folder), "image_dir")]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"max_train_epochs": 2, "max_train_steps": 99}, "max_train_steps"),
        ({"validate_every_n_steps": 5}, "validation_split"),
        ({"validation_split": 0.5}, "validation_split"),
        (
            {"sample_prompts": ("x",), "sample_every_n_epochs": 1, "sample_every_n_steps": 1},
            "sample_every_n_steps",
        ),
        ({"sample_prompts": ("x",)}, "sample_every_n_epochs"),
        ({"max_train_steps": 400, "lr_scheduler": "cosine", "lr_warmup_steps": 400}, "lr_warmup_steps"),
        ({"max_train_epochs": 2, "save_every_n_epochs": 3}, "save_every_n_epochs"),
        ({"learning_rate": 0.1}, "learning_rate"),
    ],
)
def test_a_setting_that_does_nothing_or_is_far_from_usual_is_told(
    folder: Path, values: dict[str, Any], key: str
) -> None:
    (problem,) = found(a_run(folder, **values), key)
    assert problem.severity == "advice"


@pytest.mark.parametrize(
    ("optimizer", "rate", "told"),
    [("Prodigy", 1e-4, True), ("Prodigy", 1.0, False), ("Lion", 5e-4, True), ("Lion", 5e-5, False)],
)
def test_what_is_a_usual_rate_depends_on_the_optimizer(
    folder: Path, optimizer: str, rate: float, told: bool
) -> None:
    run = a_run(folder, optimizer_type=optimizer, learning_rate=rate)
    assert bool(list(checks._far_from_usual(run))) == told


def test_what_the_engine_says_about_a_value_is_not_said_twice(folder: Path) -> None:
    (problem,) = found(a_run(folder, optimizer_type="Prodigy", learning_rate=1e-4), "learning_rate")
    assert problem.mend


def test_sd_scripts_uses_one_rate_for_both_text_parts_and_that_is_told(folder: Path) -> None:
    two = a_run(folder, text_encoder_lr=(1e-5, 2e-5), network_train_unet_only=False)
    (problem,) = checks._second_rate(two, SD_SCRIPTS)
    assert problem.severity == "advice"
    assert problem.mend == {"text_encoder_lr": (1e-5,)}
    assert not list(checks._second_rate(two, BUILT_IN))
    assert not list(checks._second_rate(a_run(folder, text_encoder_lr=(1e-5,)), SD_SCRIPTS))


def test_a_bucket_that_cannot_fill_a_batch_is_told(folder: Path) -> None:
    pictures(folder, {(128, 32): 1})
    (problem,) = found(a_run(folder, batch_size=2), "batch_size")
    assert "128x32" in problem.what


def test_a_folder_that_stands_twice_is_told(folder: Path) -> None:
    assert len(found(a_run(folder, folder), "image_dir")) == 1


def test_bf16_on_a_machine_that_lacks_it_is_told(folder: Path, tmp_path: Path) -> None:
    from lora_core import machine

    workspace = Workspace.open(tmp_path / "ws")
    facts = {
        "format": 1,
        "torch_version": machine._installed("torch"),
        "torch": {"device": "cpu", "bf16": False},
    }
    write_json(workspace.root / "machine.json", facts)
    assert len(found(a_run(folder, mixed_precision="bf16"), "mixed_precision", workspace)) == 1
    assert found(a_run(folder), "mixed_precision", workspace) == []


def test_an_engine_that_does_not_exist_is_told(folder: Path) -> None:
    with pytest.raises(EngineError):
        check(a_run(folder), "nothing")


def test_one_look_at_the_images_serves_plan_and_check(folder: Path) -> None:
    run = a_run(folder)
    images = look_at_images(run)
    for path in folder.iterdir():
        path.unlink()
    assert plan(run, images) is not None
    assert [p for p in check(run, "diffusers", images=images) if p.setting == "image_dir"] == []
