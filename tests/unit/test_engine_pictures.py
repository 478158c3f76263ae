"""The pictures of a run: what is read, what is left out and named, what is held back."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lora_core.datasets.buckets import Size
from lora_core.datasets.words import Moment
from lora_core.engines.diffusers.batches import Plan, held_out_batches
from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.engines.diffusers.pictures import Pictures, read_pictures, split
from lora_core.engines.diffusers.pixels import read_pixels
from lora_core.errors import CaptionError, DatasetError, SettingsError
from lora_core.reporting import NullReporter
from lora_core.settings import RunConfig, loads_run


class Notes(NullReporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def picture(path: Path, width: int, height: int, caption: str | None = "one, two, three") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, "utf-8")
    return path


def run_on(folder: Path, *, config: str = "", dataset: str = "", subset: str = "") -> RunConfig:
    return loads_run(
        f'pretrained_model_name_or_path = "base"\n{config}',
        "[[datasets]]\nresolution = 64\nmin_bucket_reso = 32\nmax_bucket_reso = 128\nbucket_reso_steps = 16\n"
        f"{dataset}\n[[datasets.subsets]]\nimage_dir = {json.dumps(str(folder))}\n{subset}",
    )


def read(run: RunConfig) -> Pictures:
    return read_pictures(run, NullReporter())


def test_shrinking_averages_and_enlarging_is_lanczos_as_in_sd_scripts(tmp_path: Path) -> None:
    large = picture(tmp_path / "large.png", 160, 130)
    small = picture(tmp_path / "small.png", 50, 50)
    pixels = {each.entry.name: read_pixels(each).values for each in read(run_on(tmp_path)).training}
    shrunk = cv2.resize(np.asarray(Image.open(large)), (79, 64), interpolation=cv2.INTER_AREA)
    assert np.array_equal(pixels["large.png"], shrunk[:, 7:71])
    enlarged = Image.open(small).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(pixels["small.png"], np.asarray(enlarged))


def test_the_cut_is_taken_from_the_middle(tmp_path: Path) -> None:
    values = np.zeros((64, 128, 3), np.uint8)
    values[:, 32:96] = 255
    Image.fromarray(values).save(tmp_path / "wide.png")
    run = run_on(tmp_path, dataset="enable_bucket = false", subset='class_tokens = "x"')
    assert (read_pixels(read(run).training[0]).values == 255).all()


def test_transparency_is_dropped_and_not_painted(tmp_path: Path) -> None:
    values = np.full((64, 64, 4), (10, 20, 30, 0), np.uint8)
    Image.fromarray(values).save(tmp_path / "clear.png")
    run = run_on(tmp_path, subset='class_tokens = "x"')
    assert (read_pixels(read(run).training[0]).values == (10, 20, 30)).all()


def test_content_tells_apart_an_edited_picture_and_another_cut(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 64, 64)
    before = read_pixels(read(run_on(tmp_path)).training[0]).content
    assert read_pixels(read(run_on(tmp_path)).training[0]).content == before
    smaller = run_on(tmp_path, dataset="enable_bucket = true\nbucket_no_upscale = true")
    assert read_pixels(read(smaller).training[0]).content == before  # the same cut of the same file
    image = Image.open(path).copy()
    image.putpixel((0, 0), (1, 2, 3))
    image.save(path)
    assert read_pixels(read(run_on(tmp_path)).training[0]).content != before


def test_a_picture_that_changed_its_size_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 64, 64)
    listed = read(run_on(tmp_path)).training[0]
    picture(path, 80, 64)
    with pytest.raises(DatasetError, match="changed"):
        read_pixels(listed)


def test_a_file_that_is_no_picture_is_named_counted_and_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "good.png", 64, 64)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    notes = Notes()
    pictures = read_pictures(run_on(tmp_path), notes)
    assert [each.entry.name for each in pictures.training] == ["good.png"]
    assert len(notes.texts) == 1
    assert "1 file was left out" in notes.texts[0]
    assert "bad.png" in notes.texts[0]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        read(run_on(tmp_path / "empty"))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        read(run_on(tmp_path / "nowhere"))


@pytest.mark.parametrize("content", [b"", "Käse".encode("utf-16")])
def test_an_empty_or_foreign_caption_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    picture(tmp_path / "a.png", 64, 64)
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(CaptionError, match=r"a\.txt"):
        read(run_on(tmp_path))


def test_class_tokens_stand_in_where_there_is_no_caption(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64)
    picture(tmp_path / "b.png", 64, 64, caption=None)
    captions = {
        each.entry.name: each.caption
        for each in read(run_on(tmp_path, subset='class_tokens = "cat"')).training
    }
    assert captions == {"a.png": "one, two, three", "b.png": "cat"}


def test_a_picture_without_any_words_is_trained_and_noted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64, caption=None)
    notes = Notes()
    assert read_pictures(run_on(tmp_path), notes).training[0].caption == ""
    assert "a.png" in notes.texts[0]


def test_bucket_limits_that_contradict_the_resolution_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64)
    run = loads_run(
        'pretrained_model_name_or_path = "base"',
        "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\n" + f"image_dir = {json.dumps(str(tmp_path))}",
    )
    with pytest.raises(SettingsError, match="min_bucket_reso"):
        read(run)


def test_kept_tokens_stay_in_front_and_the_others_move(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64, caption="sks, a, b, c, d, e, f")
    one = read(run_on(tmp_path, subset="shuffle_caption = true\nkeep_tokens = 1")).training[0]
    words = [one.words(generator(1, Purpose.CAPTION, step, 0), Moment(1, step, 20)) for step in range(20)]
    assert all(text.split(", ")[0] == "sks" for text in words)
    assert all(sorted(text.split(", ")) == sorted(one.caption.split(", ")) for text in words)
    assert len(set(words)) > 10


def test_captions_are_used_as_written_unless_shuffling_is_asked_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64, caption="b,a ,  c")
    one = read(run_on(tmp_path)).training[0]
    assert one.words(generator(1, Purpose.CAPTION), Moment(1, 0, 20)) == "b,a ,  c"


def test_held_out_pictures_are_never_trained_on(tmp_path: Path) -> None:
    for number in range(13):
        picture(tmp_path / f"{number}.png", 64, 64)
    for share in (0.1, 0.25, 0.5):
        pictures = read(run_on(tmp_path, dataset=f"validation_split = {share}"))
        names = [each.entry.name for each in pictures.all]
        assert len(set(names)) == len(names) == 13
        assert len(pictures.held_out) == int(13 * share)


def test_validation_seed_alone_decides_which_pictures_are_held_out(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / f"{number}.png", 64, 64)

    def held_out(seed: int, validation_seed: int) -> set[str]:
        dataset = f"validation_split = 0.3\nvalidation_seed = {validation_seed}"
        run = run_on(tmp_path, config=f"seed = {seed}", dataset=dataset)
        return {each.entry.name for each in read(run).held_out}

    assert held_out(1, 5) == held_out(2, 5)
    assert held_out(1, 5) != held_out(1, 6)


def test_the_learned_share_is_counted_as_sd_scripts_counts_it(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 64, 64)
    one = read(run_on(tmp_path)).training[0]
    assert [len(split([one] * count, 0.1, 1)[0]) for count in (5, 10, 16, 40)] == [5, 9, 15, 36]


def three_sizes(folder: Path) -> Path:
    for number, (width, height) in enumerate([(64, 64)] * 5 + [(96, 48)] * 3 + [(48, 96)]):
        picture(folder / f"{number}.png", width, height)
    return folder


def test_steps_are_counted_bucket_by_bucket_and_then_once_an_epoch(tmp_path: Path) -> None:
    folder = three_sizes(tmp_path)
    run = run_on(
        folder,
        config="max_train_epochs = 3\ngradient_accumulation_steps = 4",
        dataset="batch_size = 4",
        subset="num_repeats = 2",
    )
    plan = Plan(run, read(run).training)
    assert sorted(plan.bucket_counts().values()) == [2, 6, 10]
    assert plan.batches_per_epoch == 1 + 2 + 3
    assert plan.steps_per_epoch == 2
    assert (plan.steps, plan.epochs) == (6, 3)


def test_without_epochs_the_steps_decide_and_the_last_epoch_is_cut_short(tmp_path: Path) -> None:
    run = run_on(three_sizes(tmp_path), config="max_train_steps = 20")
    plan = Plan(run, read(run).training)
    assert (plan.steps_per_epoch, plan.steps, plan.epochs) == (9, 20, 3)


def test_an_epoch_uses_every_picture_as_often_as_it_is_repeated_in_batches_of_one_size(
    tmp_path: Path,
) -> None:
    run = run_on(
        three_sizes(tmp_path),
        config="gradient_accumulation_steps = 2",
        dataset="batch_size = 2",
        subset="num_repeats = 3",
    )
    pictures = read(run).training
    plan = Plan(run, pictures)
    for epoch in range(3):
        places = [plan.place(epoch * plan.steps_per_epoch + step) for step in range(plan.steps_per_epoch)]
        batches = [batch for place in places for batch in plan.batches(place)]
        assert len(batches) == plan.batches_per_epoch
        assert all(len({each.placement.bucket for each in batch}) == 1 for batch in batches)
        assert Counter(each for batch in batches for each in batch) == dict.fromkeys(pictures, 3)


def test_every_epoch_has_an_order_of_its_own_that_the_seed_decides(tmp_path: Path) -> None:
    folder = three_sizes(tmp_path)

    def order(seed: int, epoch: int) -> list[str]:
        run = run_on(folder, config=f"seed = {seed}")
        plan = Plan(run, read(run).training)
        places = [plan.place(epoch * plan.steps_per_epoch + step) for step in range(plan.steps_per_epoch)]
        return [each.entry.name for place in places for batch in plan.batches(place) for each in batch]

    assert order(1, 4) == order(1, 4)
    assert all(
        one != next_one for one, next_one in pairwise([order(1, 0), order(1, 1), order(1, 2), order(2, 2)])
    )


def test_a_step_is_looked_up_without_those_before_it(tmp_path: Path) -> None:
    run = run_on(three_sizes(tmp_path), config="max_train_steps = 40")
    pictures = read(run).training
    walked = Plan(run, pictures)
    batches = [walked.batches(walked.place(step)) for step in range(40)]
    for step in (0, 8, 9, 31):
        fresh = Plan(run, pictures)
        assert fresh.batches(fresh.place(step)) == batches[step]


def test_held_out_pictures_are_tested_once_each_and_no_more_batches_than_asked(tmp_path: Path) -> None:
    folder = three_sizes(tmp_path)
    run = run_on(
        folder,
        config="max_validation_steps = 2",
        dataset="batch_size = 2\nvalidation_split = 0.9",
        subset="num_repeats = 3",
    )
    batches = held_out_batches(run, read(run).held_out)
    assert len(batches) == 2
    used = [each for batch in batches for each in batch]
    assert len(set(used)) == len(used)


def test_sizes_of_a_batch_are_the_buckets_of_sd_scripts(tmp_path: Path) -> None:
    run = run_on(three_sizes(tmp_path))
    sizes = {size for _, size in Plan(run, read(run).training).bucket_counts()}
    assert sizes == {Size(64, 64), Size(80, 48), Size(48, 80)}
