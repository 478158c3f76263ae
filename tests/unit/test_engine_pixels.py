"""One use of a picture: masks, changes of colour, cuts, sizes; class images beside those to learn."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from sd_scripts_code import piece
from test_engine_pictures import Notes, picture, read, run_on

from lora_core.datasets.buckets import Size, conditioning_cut
from lora_core.datasets.words import Moment
from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.engines.diffusers.pictures import Picture, read_pictures
from lora_core.engines.diffusers.pixels import (
    Change,
    decode,
    random_offset,
    read_pixels,
    read_source,
    recoloured,
)
from lora_core.errors import DatasetError
from lora_core.settings import RunConfig
from lora_core.settings import setting as described


def one(run: RunConfig) -> Picture:
    return read(run).training[0]


def masked(pictures: Path, masks: Path, subset: str = "") -> RunConfig:
    named = f"conditioning_data_dir = '{masks.as_posix()}'\n{subset}"
    return run_on(pictures, config="masked_loss = true", subset=f'class_tokens = "x"\n{named}')


def test_a_mask_is_resized_and_cut_like_its_picture(tmp_path: Path) -> None:
    values = np.zeros((130, 160), np.uint8)
    values[:, 80:] = 255  # the right half
    picture(tmp_path / "in" / "a.jpg", 160, 130)
    (tmp_path / "masks").mkdir()
    Image.fromarray(values).save(tmp_path / "masks" / "a.png")
    pixels = read_pixels(one(masked(tmp_path / "in", tmp_path / "masks")))
    expected = cv2.resize(values, (79, 64), interpolation=cv2.INTER_AREA)[:, 7:71]
    assert pixels.mask is not None
    assert np.array_equal(pixels.mask, expected)
    assert pixels.values.shape == (64, 64, 3)


def test_a_broken_mask_is_named_as_a_mask_with_its_folder(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"The mask a\.png in masks was not read"):
        one(masked(tmp_path / "in", tmp_path / "masks"))


def test_only_the_red_channel_of_a_mask_counts(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (64, 64), (7, 200, 90)).save(tmp_path / "masks" / "a.png")
    mask = read_pixels(one(masked(tmp_path / "in", tmp_path / "masks"))).mask
    assert mask is not None
    assert (mask == 7).all()


def test_greys_of_16_bits_stay_greys_in_pictures_and_masks(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 64, dtype=np.uint16).reshape(64, 64)
    for folder in ("in", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    pixels = read_pixels(one(masked(tmp_path / "in", tmp_path / "masks")))
    assert pixels.mask is not None
    for found in (pixels.mask, *np.moveaxis(pixels.values, 2, 0)):
        assert np.array_equal(found, values >> 8)


def test_transparency_is_a_mask_where_it_is_asked_for(tmp_path: Path) -> None:
    values = np.full((64, 64, 4), (10, 20, 30, 255), np.uint8)
    values[:32, :, 3] = 51
    Image.fromarray(values).save(tmp_path / "a.png")
    pixels = read_pixels(one(run_on(tmp_path, subset='class_tokens = "x"\nalpha_mask = true')))
    assert (pixels.values == (10, 20, 30)).all()
    assert pixels.mask is not None
    assert (pixels.mask[:32] == 51).all()
    assert (pixels.mask[32:] == 255).all()
    assert read_pixels(one(run_on(tmp_path, subset='class_tokens = "x"'))).mask is None


def test_an_edited_mask_is_another_content(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    (tmp_path / "masks").mkdir()
    digests = set()
    for colour in ("white", "black"):
        Image.new("L", (64, 64), colour).save(tmp_path / "masks" / "a.png")
        digests.add(read_source(one(masked(tmp_path / "in", tmp_path / "masks"))).digest)
    digests.add(read_source(one(run_on(tmp_path / "in"))).digest)
    digests.add(read_source(one(run_on(tmp_path / "in", subset="alpha_mask = true"))).digest)
    assert len(digests) == 4


def test_a_missing_mask_stops_a_run_and_names_the_picture(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 64, 64)
    picture(tmp_path / "in" / "b.png", 64, 64)
    picture(tmp_path / "masks" / "a.png", 64, 64)
    with pytest.raises(DatasetError, match=r"1 picture has no mask.*b\.png"):
        read(masked(tmp_path / "in", tmp_path / "masks"))


def test_a_random_cut_moves_within_what_is_spare_and_takes_its_mask_along(tmp_path: Path) -> None:
    values = np.repeat(np.arange(128, dtype=np.uint8)[None], 64, axis=0)
    Image.fromarray(np.dstack([values] * 4)).save(tmp_path / "a.png")
    run = run_on(tmp_path, dataset="enable_bucket = false", subset='class_tokens = "x"\nalpha_mask = true')
    source = read_source(one(run))
    offsets = {
        random_offset(source.picture.placement, generator(1, Purpose.CROP, step)) for step in range(400)
    }
    assert {top for _, top in offsets} == {0}
    assert {left for left, _ in offsets} == set(range(65))
    pixels = decode(source, Change(offset=(64, 0)))
    assert pixels.mask is not None
    assert pixels.values[0, 0, 0] == pixels.mask[0, 0] == 64
    assert pixels.digest != source.digest


def test_a_third_of_uses_changes_colours_a_little() -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    changed = [recoloured(values, np.random.default_rng(seed)) for seed in range(300)]
    counted = sum(not np.array_equal(each, values) for each in changed)
    assert 60 < counted < 130
    assert all(each.shape == values.shape and each.dtype == np.uint8 for each in changed)


@pytest.mark.sd_scripts
def test_colours_change_as_in_sd_scripts_from_the_same_numbers() -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    chance = SimpleNamespace()
    helper = piece("AugHelper", random=chance, np=np, cv2=cv2)()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chance.random, chance.uniform = rng.random, rng.uniform
        expected = helper.color_aug(image=values.copy())["image"]
        assert np.array_equal(recoloured(values, np.random.default_rng(seed)), expected)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("way", [None, *described("resize_interpolation").choices])
@pytest.mark.parametrize("size", [(160, 130), (50, 70)])
def test_pictures_are_resized_as_in_sd_scripts(
    tmp_path: Path, way: str | None, size: tuple[int, int]
) -> None:
    tools: dict[str, Any] = {"cv2": cv2, "Image": Image, "np": np, "logger": logging.getLogger("quiet")}
    for name in ("pil_resize", "get_cv2_interpolation", "get_pil_interpolation", "resize_image"):
        tools[name] = piece(name, "library/utils.py", **tools)
    picture(tmp_path / "a.png", *size)
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    chosen = f'resize_interpolation = "{way}"' if way else ""
    mine = one(run_on(tmp_path, subset=f'class_tokens = "x"\n{chosen}'))
    left, top = mine.placement.offset
    resized = tools["resize_image"](noise[..., ::-1], *size, *mine.placement.resized, way)[..., ::-1]
    width, height = mine.placement.bucket
    wanted = resized[top : top + height, left : left + width]
    assert np.array_equal(read_pixels(mine).values, wanted)


def test_another_way_to_resize_is_another_content(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 160, 130)
    kinds = [
        one(run_on(tmp_path, subset=f'class_tokens = "x"\n{way}'))
        for way in ("", 'resize_interpolation = "nearest"')
    ]
    assert read_source(kinds[0]).digest != read_source(kinds[1]).digest


def test_sizes_told_to_sdxl_are_original_cut_and_target_height_first(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 160, 100)  # 48 high it is 76.8 wide, which leaves 3.2 of 80 pixels
    found = one(run_on(tmp_path))
    assert found.placement.bucket == Size(80, 48)
    assert found.size_ids(flipped=False) == (100, 160, 0, 1, 48, 80)
    assert found.size_ids(flipped=True) == (100, 160, 0, 2, 48, 80)


@pytest.mark.sd_scripts
def test_the_cut_told_to_sdxl_is_that_of_sd_scripts() -> None:
    get_crop_ltrb = piece("BucketManager.get_crop_ltrb")
    rng = np.random.default_rng(0)
    for _ in range(500):
        bucket = Size(*(int(side) * 64 for side in rng.integers(4, 33, 2)))
        width, height = (int(side) for side in rng.integers(64, 4000, 2))
        left, top, right, _bottom = get_crop_ltrb(bucket, (width, height))
        assert conditioning_cut(bucket, width, height) == (left, top, right)


def of_class(folder: Path, count: int, own: int, subset: str = "", dataset: str = "") -> RunConfig:
    for number in range(own):
        picture(folder / "own" / f"{number}.png", 64, 64)
    for number in range(count):
        picture(folder / "class" / f"{number}.png", 48, 96, caption="a dog")
    run = run_on(folder / "own", subset="num_repeats = 3", dataset=dataset)
    second = run_on(folder / "class", subset=f"is_reg = true\n{subset}").dataset.datasets[0].subsets
    table = run.dataset.datasets[0]
    tables = (table.model_copy(update={"subsets": (*table.subsets, *second)}),)
    return run.model_copy(update={"dataset": run.dataset.model_copy(update={"datasets": tables})})


@pytest.mark.parametrize(("count", "uses"), [(4, [2, 2, 1, 1]), (6, [1] * 6), (2, [3, 3])])
def test_class_images_are_used_as_often_as_the_others(tmp_path: Path, count: int, uses: list[int]) -> None:
    run = of_class(tmp_path, count, own=2)
    plan = Plan(run, read(run).training)
    batches = [batch for step in range(plan.steps_per_epoch) for batch in plan.batches(plan.place(step))]
    epoch = [each for batch in batches for each in batch]
    used = {each: epoch.count(each) for each in sorted(set(epoch), key=lambda each: each.path)}
    assert [n for each, n in used.items() if each.subset.is_reg] == uses
    assert [n for each, n in used.items() if not each.subset.is_reg] == [3, 3]


def test_class_images_that_are_not_needed_are_left_out_and_counted(tmp_path: Path) -> None:
    notes = Notes()
    pictures = read_pictures(of_class(tmp_path, 8, own=1), notes)
    assert sum(each.subset.is_reg for each in pictures.training) == 3
    assert any("5 class images are not used" in note for note in notes.texts)


def test_class_images_are_never_held_back(tmp_path: Path) -> None:
    pictures = read(of_class(tmp_path, 20, own=10, dataset="validation_split = 0.5"))
    assert not any(each.subset.is_reg for each in pictures.held_out)
    assert len(pictures.held_out) == 5
    assert sum(each.subset.is_reg for each in pictures.training) == 15


def test_fewer_pictures_than_a_batch_are_refused_with_the_way_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64)
    with pytest.raises(DatasetError, match="batch_size to 2 or less"):
        read(run_on(tmp_path, dataset="batch_size = 3", subset="num_repeats = 2"))


def test_a_further_line_is_learned_only_where_choices_are_on(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64, caption="first\n\nsecond {x|y}\n")
    texts: dict[str, set[str]] = {}
    for setting in ("true", "false"):
        found = one(run_on(tmp_path, subset=f"enable_wildcard = {setting}"))
        texts[setting] = {
            found.words(generator(1, Purpose.CAPTION, step), Moment(1, step, 99)) for step in range(60)
        }
    assert texts == {"true": {"first", "second x", "second y"}, "false": {"first"}}


def test_words_of_a_batch_depend_on_their_place_alone(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png", 64, 64, caption="a, b, c, d, e, f, g, h")
    subset = "shuffle_caption = true\ncaption_tag_dropout_rate = 0.3\nnum_repeats = 5"
    run = run_on(tmp_path, dataset="batch_size = 2", subset=subset)
    first, second = (Plan(run, read(run).training) for _ in range(2))
    place = first.place(7)
    (batch,) = first.batches(place)
    expected = first.words(place, batch, 0)
    for step in range(7):
        second.words(second.place(step), second.batches(second.place(step))[0], 0)
    assert second.words(place, batch, 0) == expected
    assert first.words(place, batch, 0) != first.words(first.place(8), batch, 0)
