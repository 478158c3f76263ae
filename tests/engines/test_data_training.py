"""Whole runs with all that the data can do: exact when resumed, nothing learned of what is masked away."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from trainer_rig import Ears, Rig, Trained, draw_pictures, losses

from lora_core.engines.diffusers.latents import Latents
from lora_core.engines.diffusers.text import Conditioning, Texts
from lora_core.reporting import Ended

ALL_CHANCE: dict[str, Any] = {
    # Everything about pictures and captions that draws random numbers, or depends on step or epoch.
    "cache_latents": False,
    "gradient_accumulation_steps": 2,
    "max_train_steps": 6,
    "dataset": {"batch_size": 2},
    "subset": {
        "num_repeats": 3,
        "flip_aug": True,
        "random_crop": True,
        "color_aug": True,
        "shuffle_caption": True,
        "enable_wildcard": True,
        "caption_prefix": "{red|blue}, sks",
        "caption_dropout_rate": 0.2,
        "caption_tag_dropout_rate": 0.2,
        "caption_dropout_every_n_epochs": 2,
        "token_warmup_step": 0.9,
    },
}


@pytest.mark.parametrize("kept", [False, True], ids=["at each use", "on the disk"])
def test_a_resumed_run_repeats_every_bit_with_all_chance_switched_on(
    rig: Rig, train: Trained, kept: bool
) -> None:
    config = dict(ALL_CHANCE)
    if kept:  # where pictures are kept, they cannot be cut and coloured anew
        config |= {"cache_latents": True, "cache_latents_to_disk": True}
        config["subset"] = {**config["subset"], "random_crop": False, "color_aug": False}
    whole, parts = rig.folder("whole", **config), rig.folder("parts", **config)
    train(whole)
    with pytest.raises(Ended):
        train(parts, Ears(asks={3: "stop"}))
    ears = Ears()
    train(parts, ears, resume=parts / "states" / "tiny-step00000003-state")
    assert losses(parts) == losses(whole)
    assert not any("not bit for bit" in note for note in ears.notes)


def test_pictures_are_begun_two_steps_before_they_are_used_and_each_once(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    seen: list[tuple[int, set[int]]] = []
    fetch, batch = Latents._fetch, Latents.batch

    def seen_batch(self: Latents, pictures: Any, seat: Any = None) -> Any:
        seen.append((seat[0], {step for step, _ in self._expected}))
        return batch(self, pictures, seat)

    def seen_fetch(self: Latents, use: Any) -> Any:
        begun.append(use)
        return fetch(self, use)

    monkeypatch.setattr(Latents, "batch", seen_batch)
    monkeypatch.setattr(Latents, "_fetch", seen_fetch)
    train(rig.folder(max_train_steps=5, cache_latents=False, dataset={"batch_size": 1}))
    assert [ahead - {step} for step, ahead in seen] == [{1, 2}, {2, 3}, {3, 4}, {4}, set()]
    assert len(begun) == 5


def test_a_picture_that_was_edited_between_two_runs_is_told_when_going_on(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=4, cache_latents_to_disk=True)
    with pytest.raises(Ended):
        train(folder, Ears(asks={2: "stop"}))
    Image.new("RGB", (48, 48), "red").save(rig.pictures() / "00.png")
    ears = Ears()
    train(folder, ears, resume=folder / "states" / "tiny-step00000002-state")
    assert any("not bit for bit" in note and "pictures" in note for note in ears.notes)


def test_nothing_is_learned_of_what_the_mask_blacks_out(rig: Rig, train: Trained) -> None:
    masks = rig.root / "masks"
    masks.mkdir()
    for path in rig.pictures().glob("*.png"):
        with Image.open(path) as image:
            Image.new("L", image.size, 0).save(masks / path.name)
    subset = {"conditioning_data_dir": str(masks)}
    folder = rig.folder("black", max_train_steps=2, masked_loss=True, subset=subset)
    train(folder)
    assert losses(folder) == [0.0, 0.0]


def test_a_clear_part_is_not_learned_and_the_rest_is(rig: Rig, train: Trained) -> None:
    clear = rig.root / "clear"
    clear.mkdir()
    for number, alpha in enumerate((0, 255)):
        values = np.full((48, 48, 4), (200, 90, 40, alpha), np.uint8)
        Image.fromarray(values).save(clear / f"{number}.png")
    subset = {"image_dir": str(clear), "alpha_mask": True, "class_tokens": "a cat", "num_repeats": 1}
    folder = rig.folder("clear run", max_train_epochs=1, dataset={"batch_size": 1}, subset=subset)
    train(folder)
    assert sorted(loss > 0 for loss in losses(folder)) == [False, True]


def test_class_images_are_used_as_often_as_the_others_and_count_by_their_weight(
    rig: Rig, train: Trained
) -> None:
    folder = rig.folder(max_train_epochs=1, prior_loss_weight=0.0, dataset={"batch_size": 1})
    draw_pictures(rig.root / "class", [(48, 48), (48, 48)], "a cat")
    with (folder / "dataset.toml").open("a") as file:
        file.write(
            f"[[datasets.subsets]]\nimage_dir = {json.dumps(str(rig.root / 'class'))}\nis_reg = true\n"
        )
    path = train(folder)
    weighed = [loss > 0 for loss in losses(folder)]
    assert (weighed.count(True), weighed.count(False)) == (10, 10)
    with safe_open(path, "pt") as opened:
        notes = opened.metadata()
    assert (notes["ss_num_train_images"], notes["ss_num_reg_images"]) == ("10", "2")
    assert notes["ss_prior_loss_weight"] == "0.0"
    assert [each["is_reg"] for each in json.loads(notes["ss_datasets"])[0]["subsets"]] == [False, True]
    assert list(json.loads(notes["ss_dataset_dirs"])) == ["pictures"]


def test_latents_on_the_disk_lie_beside_the_pictures_and_are_not_taken_for_some(
    rig: Rig, train: Trained
) -> None:
    folder = rig.folder(max_train_steps=1, cache_latents_to_disk=True)
    train(folder)
    entries = list((rig.pictures() / ".lora" / "latents").iterdir())
    assert len(entries) == 5
    train(rig.folder("again", max_train_steps=1, cache_latents_to_disk=True))
    assert losses(rig.root / "again") == losses(folder)
    assert sorted((rig.pictures() / ".lora" / "latents").iterdir()) == sorted(entries)


def test_what_shuts_each_other_out_is_refused_before_anything_is_read(rig: Rig, train: Trained) -> None:
    from lora_core.errors import SettingsError

    folder = rig.folder(subset={"random_crop": True, "image_dir": str(Path("/no/such/folder"))})
    with pytest.raises(SettingsError, match="random_crop"):
        train(folder)


def test_a_test_reads_captions_with_all_that_the_folder_adds_and_without_chance(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = rig.pictures()
    for path in pictures.glob("*.txt"):
        path.write_text(f"sks ||| {{red|blue}}, {path.stem};;cat, dog", "utf-8")
    read: list[str] = []
    now = Texts.now

    def seen(self: Texts, captions: list[str]) -> Conditioning:
        read.extend(captions)
        return now(self, captions)

    monkeypatch.setattr(Texts, "now", seen)
    subset = {
        "caption_prefix": "a photo of",
        "caption_suffix": "||| high",
        "shuffle_caption": True,
        "keep_tokens_separator": "|||",
        "secondary_separator": ";;",
        "enable_wildcard": True,
        "caption_dropout_rate": 1.0,
        "caption_dropout_every_n_epochs": 1,
        "caption_tag_dropout_rate": 0.9,
        "token_warmup_step": 50,
    }
    train(rig.folder(max_train_epochs=1, dataset={"validation_split": 0.4}, subset=subset))
    assert len(read) == 2
    assert all(re.fullmatch(r"a photo of sks, red, \d\d,cat, dog, high", text) for text in read)
