"""A whole run on a tiny base model: what it computes and what it records."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained, losses, records

from lora_core.demo.recipe import BASE_DIR


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every TensorBoard curve of a run, as (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_a_run_ends_with_a_lora_file_and_one_record_a_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2)
    ears = Ears()
    path = train(folder, ears)
    assert path == folder / "checkpoints" / "tiny.safetensors"
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    start, steps = records(folder, "start"), records(folder)
    total = start[0]["total"]
    assert total == 2 * start[0]["steps_per_epoch"]
    assert [record["step"] for record in steps] == list(range(1, total + 1))
    assert [record["epoch"] for record in steps] == [1] * (total // 2) + [2] * (total // 2)
    assert ears.steps[-1].step == ears.steps[-1].total == total
    assert ears.files == [(path, total)]


def test_the_phases_are_told_in_plain_words_and_in_order(rig: Rig, train: Trained) -> None:
    ears = Ears()
    train(
        rig.folder(max_train_steps=1, sample_prompts=["a cat --w 64 --h 64 --s 1"], sample_at_first=True),
        ears,
    )
    assert ears.phases == [
        "Reading the pictures",
        "Loading the base model",
        "Preparing the pictures",
        "Drawing samples",
        "Training",
        "Saving",
    ]


def test_a_run_learns(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=25, dataset={"batch_size": 4}, subset={"num_repeats": 10})
    train(folder)
    found = losses(folder)
    assert np.mean(found[-5:]) < 0.97 * np.mean(found[:5]), found


def test_the_same_seed_gives_the_same_run_and_another_seed_another(rig: Rig, train: Trained) -> None:
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        train(rig.folder(name, seed=seed, max_train_steps=3))
    one, again, other = (losses(rig.root / name) for name in ("one", "again", "other"))
    assert one == again
    assert set(one).isdisjoint(other)


def test_accumulated_batches_are_one_step_and_the_last_of_an_epoch_may_be_fewer(
    rig: Rig, train: Trained
) -> None:
    folder = rig.folder(max_train_epochs=2, gradient_accumulation_steps=3, dataset={"batch_size": 3})
    train(folder)
    # Twice three square pictures, one wide and one tall make 2 + 1 + 1 batches, so steps of 3 and 1.
    (start,) = records(folder, "start")
    assert (start["steps_per_epoch"], start["total"], len(records(folder))) == (2, 4, 4)


def test_a_warm_up_starts_at_zero_and_a_cosine_ends_near_it(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=8, lr_scheduler="cosine", lr_warmup_steps=0.25)
    train(folder)
    rates = [record["lr"] for record in records(folder)]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.001


def test_the_rate_of_the_unet_goes_before_the_learning_rate(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=1, unet_lr=0.002)
    train(folder)
    assert records(folder)[0]["lr"] == 0.002


def test_validation_loss_is_the_same_for_the_same_lora_and_draws_nothing_from_training(
    rig: Rig, train: Trained
) -> None:
    tested = rig.folder(
        "tested",
        learning_rate=0.0,
        validate_every_n_steps=1,
        max_train_steps=4,
        dataset={"validation_split": 0.4},
    )
    plain = rig.folder(
        "plain",
        learning_rate=0.0,
        validate_every_n_epochs=99,
        max_train_steps=4,
        dataset={"validation_split": 0.4},
    )
    train(tested)
    train(plain)
    values = {record["validation_loss"] for record in records(tested, "validation")}
    assert len(values) == 1  # a rate of 0 changes nothing, so nothing but noise could move it
    assert losses(tested) == losses(plain)
    assert records(plain, "validation") == []


def test_validation_follows_the_held_out_pictures_once_an_epoch(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2, learning_rate=0.1, dataset={"validation_split": 0.4})
    train(folder)
    per_epoch = records(folder, "start")[0]["steps_per_epoch"]
    found = records(folder, "validation")
    assert [record["step"] for record in found] == [per_epoch, 2 * per_epoch]
    assert found[0]["validation_loss"] != found[1]["validation_loss"]


def test_tensorboard_has_every_curve_with_one_point_a_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2, dataset={"validation_split": 0.4})
    train(folder)
    curves = scalars(folder)
    steps = [record["step"] for record in records(folder)]
    per_step = {
        "loss/current",
        "loss/average",
        "lr/unet",
        "norm/grad",
        "speed/steps_per_s",
        "memory/mib",
    }
    assert set(curves) == per_step | {"loss/epoch_average", "loss/validation"}
    for tag in per_step:
        assert [step for step, _ in curves[tag]] == steps, tag
    assert [step for step, _ in curves["loss/epoch_average"]] == [1, 2]
    assert [value for _, value in curves["loss/current"]] == pytest.approx(losses(folder), rel=1e-6)


def test_the_rate_of_each_part_that_learns_is_recorded_under_its_own_name(rig: Rig, train: Trained) -> None:
    folder = rig.folder(
        max_train_steps=2, unet_lr=1e-3, text_encoder_lr=[2e-4], network_train_unet_only=False
    )
    train(folder)
    curves = scalars(folder)
    assert [value for _, value in curves["lr/unet"]] == pytest.approx([1e-3, 1e-3])
    assert [value for _, value in curves["lr/textencoder"]] == pytest.approx([2e-4, 2e-4])
    assert [record["lr"] for record in records(folder)] == [1e-3, 1e-3]


def photographs(folder: Path) -> Path:
    """The photographs in scikit-image's wheel: square, lying and, turned, upright."""
    from skimage import data

    folder.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        image = Image.fromarray(getattr(data, name)())
        image.save(folder / f"{name}.jpg")
        image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name} upright.jpg")
    return folder


@pytest.mark.parametrize(("base", "resolution"), [("tiny", 96), ("demo", 64), ("demo", 128)])
def test_real_photographs_in_three_shapes_train_at_several_bucket_sizes(
    rig: Rig, train: Trained, base: str, resolution: int
) -> None:
    from safetensors import safe_open

    run = rig.folder(
        max_train_epochs=1,
        pretrained_model_name_or_path=str(BASE_DIR if base == "demo" else rig.base),
        dataset={
            "resolution": resolution,
            "min_bucket_reso": 32,
            "max_bucket_reso": 256,
            "bucket_reso_steps": 16,
        },
        subset={
            "image_dir": str(photographs(rig.root / "photographs")),
            "class_tokens": "a photo",
            "num_repeats": 1,
        },
    )
    path = train(run)
    assert all(math.isfinite(loss) for loss in losses(run))
    with safe_open(path, "pt") as file:
        (dataset,) = json.loads(file.metadata()["ss_datasets"])
    sizes = {tuple(bucket["resolution"]) for bucket in dataset["bucket_info"]["buckets"].values()}
    assert {"wide" if w > h else "tall" if w < h else "square" for w, h in sizes} == {
        "wide",
        "tall",
        "square",
    }
    assert all(0.7 * resolution**2 < width * height <= resolution**2 for width, height in sizes)


def test_latents_that_are_not_kept_train_the_same(rig: Rig, train: Trained) -> None:
    kept, fresh = rig.folder("kept"), rig.folder("fresh", cache_latents=False)
    train(kept)
    train(fresh)
    assert losses(fresh) == pytest.approx(losses(kept), rel=1e-5)


def test_gradient_checkpointing_changes_no_loss(rig: Rig, train: Trained) -> None:
    plain, checkpointed = rig.folder("plain"), rig.folder("checkpointed", gradient_checkpointing=True)
    train(plain)
    train(checkpointed)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-5)


def test_mixed_precision_stays_close_and_keeps_the_lora_in_full(rig: Rig, train: Trained) -> None:
    full, mixed = rig.folder("full"), rig.folder("mixed", mixed_precision="bf16", save_state=True)
    train(full)
    _reset_accelerate()
    train(mixed)
    assert losses(mixed) == pytest.approx(losses(full), rel=0.02)
    assert losses(mixed) != losses(full)
    state = next((mixed / "states").iterdir())
    assert {tensor.dtype for tensor in load_file(state / "lora.safetensors").values()} == {torch.float32}


def _reset_accelerate() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def test_the_pace_tells_how_long_is_left(rig: Rig, train: Trained) -> None:
    ears = Ears()
    train(rig.folder(max_train_steps=5), ears)
    last = [progress for progress in ears.steps if progress.loss is not None]
    assert [progress.step for progress in last] == [1, 2, 3, 4, 5]
    assert last[-1].eta_s == 0
    for progress in last[:-1]:
        assert progress.eta_s is not None
        assert progress.steps_per_s is not None
        assert progress.eta_s * progress.steps_per_s == pytest.approx(5 - progress.step)


def test_two_folders_with_their_own_captions_and_repeats_train_together(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=1)
    second = rig.root / "more"
    second.mkdir()
    (second / "x.png").write_bytes((rig.pictures() / "00.png").read_bytes())
    with (folder / "dataset.toml").open("a") as file:
        file.write(f'[[datasets.subsets]]\nimage_dir = "{second}"\nnum_repeats = 5\nclass_tokens = "dog"\n')
    path = train(folder)
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        folders = json.loads(opened.metadata()["ss_dataset_dirs"])
    assert folders == {"pictures": {"n_repeats": 2, "img_count": 5}, "more": {"n_repeats": 5, "img_count": 1}}
