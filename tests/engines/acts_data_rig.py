"""What each setting of the images, the captions, the files, the samples, the tests and the notes does.

Covered: shapes, words and latents of every use in an epoch, names of files, steps of tests. Not covered: what
becomes of every caption (see test_caption_grid.py) and of every pixel (see test_engine_pixels.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from acts_rig import FIRST, FOUR, Act, Seen, Twins, captions, note_of
from acts_sample_rig import masks
from PIL import Image
from trainer_rig import draw_pictures

EPOCH: Final = {"num_repeats": 1, "max_train_epochs": 1}
"""Every picture once."""
TAGS: Final = "a, cat, dog, red, blue"
TAGGED: Final = {"image_dir": captions(TAGS), **FIRST}
MIXED: Final = {"shuffle_caption": True, **TAGGED}
EACH_STEP: Final = {"image_dir": captions("a cat"), "num_repeats": 1, "max_train_epochs": 4}
"""Four epochs of one step each."""
HELD_OUT: Final = {
    "image_dir": captions("a cat", "a dog", "a tree", "a house"),
    "num_repeats": 1,
    "validation_split": 0.5,
    "max_train_epochs": 4,
}
"""The same, with two pictures held back."""
DRAWN: Final = {"sample_prompts": ("a cat --w 64 --h 64 --s 2",), **FOUR}
ALIVE: Final = {"cache_latents": False, **FIRST}


def shapes(seen: Seen) -> set[tuple[int, int]]:
    """Height and width of all latents; the tiny VAE makes one of 4 pixels."""
    return {(use.latents.shape[2], use.latents.shape[3]) for use in seen.uses}


def said(seen: Seen) -> list[str]:
    return [text for use in seen.uses for text in use.words]


def sizes(*wanted: tuple[int, int]) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert shapes(other) == set(wanted)
        assert shapes(one) != shapes(other)

    return shows


def one_at_a_time(one: Seen, other: Seen) -> None:
    assert max(len(use.words) for use in one.uses) == 2
    assert {len(use.words) for use in other.uses} == {1}
    assert (one.steps_per_epoch, other.steps_per_epoch) == (4, 5)


def held_back(one: Seen, other: Seen) -> None:
    assert not one.tests
    assert other.tests
    assert sorted({*said(one)} - {*said(other)}) != []
    assert (one.notes["ss_num_validation_images"], other.notes["ss_num_validation_images"]) == ("0", "2")


def others_held_back(one: Seen, other: Seen) -> None:
    assert {*said(one)} != {*said(other)}
    assert one.tests[0] != other.tests[0]


def tested_at(*steps: int) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert one.losses == other.losses
        assert [step for step, _ in other.tests] == list(steps) != [step for step, _ in one.tests]

    return shows


def fewer_tests(one: Seen, other: Seen) -> None:
    assert one.losses == other.losses
    assert [step for step, _ in one.tests] == [step for step, _ in other.tests]
    assert all(first[1] != second[1] for first, second in zip(one.tests, other.tests, strict=True))


def other_pictures(one: Seen, other: Seen) -> None:
    assert {*said(one)} != {*said(other)}
    assert not torch.equal(one.uses[0].latents, other.uses[0].latents)


def repeated(one: Seen, other: Seen) -> None:
    assert (one.steps_per_epoch, other.steps_per_epoch) == (5, 15)
    assert max(said(other).count(text) for text in said(other)) == 3


def of_the_class(one: Seen, other: Seen) -> None:
    assert (one.notes["ss_num_reg_images"], other.notes["ss_num_reg_images"]) == ("0", "2")
    assert {weight for use in one.uses for weight in use.weights.tolist()} == {1.0}
    assert {weight for use in other.uses for weight in use.weights.tolist()} == {0.25, 1.0}


def words_are(*wanted: str) -> Callable[[Seen, Seen], None]:
    """The texts of the first batch; they were others without, and the model reads others."""

    def shows(one: Seen, other: Seen) -> None:
        assert sorted({*other.uses[0].words}) == sorted(wanted)
        assert {*one.uses[0].words} != {*other.uses[0].words}
        assert not torch.equal(one.uses[0].hidden, other.uses[0].hidden)
        assert torch.equal(one.uses[0].noise, other.uses[0].noise)
        assert torch.equal(one.uses[0].latents, other.uses[0].latents)

    return shows


def in_another_order(stay: int, *, of: str = TAGS) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert {*one.uses[0].words} != {*other.uses[0].words}
        tags = of.split(", ")
        mixed = [text.split(", ") for text in said(other)]
        assert all(sorted(each) == sorted(tags) for each in mixed)
        assert all(each[:stay] == tags[:stay] for each in mixed)
        assert any(each != tags for each in mixed)

    return shows


def chosen(one: Seen, other: Seen) -> None:
    assert {*said(one)} == {"{cat|dog}"}
    assert {*said(other)} == {"cat", "dog"}


def dropped_in_each_second_epoch(one: Seen, other: Seen) -> None:
    assert all(said(one))
    assert [any(use.words) for use in other.uses] == [True, False, True, False]


def tags_grow(*counts: int) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert [len(use.words[0].split(", ")) for use in other.uses] == list(counts)
        assert said(one) != said(other)

    return shows


def some_are_mirrored(one: Seen, other: Seen) -> None:
    pairs = [
        torch.equal(first, second)
        for use, twin in zip(one.uses, other.uses, strict=True)
        for first, second in zip(use.latents, twin.latents, strict=True)
    ]
    assert len(set(pairs)) == 2, "some pictures are mirrored and some are not"
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)


def pictures_differ(one: Seen, other: Seen) -> None:
    assert one.uses[0].words == other.uses[0].words
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].latents, other.uses[0].latents)


def masked(one: Seen, other: Seen) -> None:
    use = other.uses[0]
    assert one.uses[0].mask is None
    assert use.mask is not None
    assert 0.2 < float(use.mask.mean()) < 0.8
    wanted = ((use.predicted - use.target).square() * use.mask).mean()
    torch.testing.assert_close(use.loss, float(wanted), rtol=1e-5, atol=0)


def clear_pictures(twins: Twins) -> Path:
    """Pictures whose right half is transparent."""
    folder = twins.rig.root / "clear"
    if not folder.exists():
        draw_pictures(folder, [(48, 48)] * 2, "a cat")
        for path in folder.glob("*.png"):
            with Image.open(path) as image:
                clear = image.convert("RGBA")
            clear.paste((0, 0, 0, 0), (24, 0, 48, 48))
            clear.save(path)
    return folder


def wide_pictures(twins: Twins) -> Path:
    return twins.pictures("wide", [(96, 48)] * 2)


def small_pictures(twins: Twins) -> Path:
    return twins.pictures("small", [(32, 32)] * 2)


def without_captions(twins: Twins) -> Path:
    return twins.pictures("silent", [(48, 48)] * 2, None)


def with_two_captions(twins: Twins) -> Path:
    folder = twins.captioned("a cat", "a dog")
    for path in folder.glob("*.png"):
        path.with_suffix(".other").write_text("a tree", "utf-8")
    return folder


def other_folder(twins: Twins) -> Path:
    return twins.captioned("a house")


def files_are(*names: str) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert one.losses[-2:] == other.losses[-2:]
        assert other.files == sorted(names)
        assert one.files != other.files

    return shows


def goes_on(one: Seen, other: Seen) -> None:
    assert len(one.losses) == 4
    assert len(other.uses) == 2
    assert [use.loss for use in other.uses] == [use.loss for use in one.uses[2:]]


def a_state(twins: Twins) -> Path:
    made = twins.run({**EACH_STEP, "save_every_n_steps": 2, "save_state": True})
    return made.folder / "states" / "tiny-step00000002-state"


def drawn_at(*steps: int) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert one.losses == other.losses
        assert [int(path.name.split("_")[1]) for path in pngs(other)] == list(steps)
        assert len(pngs(one)) != len(steps)

    return shows


def pngs(seen: Seen) -> list[Path]:
    return sorted(seen.folder.glob("samples/*.png"))


def drawn_otherwise(one: Seen, other: Seen) -> None:
    assert one.losses == other.losses
    assert len(pngs(one)) == len(pngs(other)) == 1
    assert pngs(one)[0].read_bytes() != pngs(other)[0].read_bytes()


MADE: Final = "tiny.safetensors"
DATASET: Final[dict[str, Act]] = {
    "resolution": Act((32, 32), sizes((8, 8)), {"enable_bucket": False, **EPOCH}),
    "batch_size": Act(1, one_at_a_time, EPOCH),
    "enable_bucket": Act(False, sizes((12, 12)), EPOCH),
    "min_bucket_reso": Act(48, sizes((12, 12)), EPOCH),
    "max_bucket_reso": Act(48, sizes((12, 12), (12, 8), (8, 12)), EPOCH),
    "bucket_reso_steps": Act(8, sizes((12, 12), (10, 14), (14, 10)), EPOCH),
    "bucket_no_upscale": Act(True, sizes((8, 8)), {"image_dir": small_pictures, **EPOCH}),
    "validation_split": Act(0.4, held_back, EPOCH),
    "validation_seed": Act(5, others_held_back, HELD_OUT),
}
SUBSET: Final[dict[str, Act]] = {
    "image_dir": Act(other_folder, other_pictures, FIRST),
    "num_repeats": Act(3, repeated, {**EPOCH, "batch_size": 1}),
    "is_reg": Act(
        True,
        of_the_class,
        {"second": {"is_reg": False}, "image_dir": captions("a cat"), "prior_loss_weight": 0.25, **EPOCH},
        in_second=True,
    ),
    "caption_extension": Act(".other", words_are("a tree"), {"image_dir": with_two_captions, **FIRST}),
    "class_tokens": Act("a cat", words_are("a cat"), {"image_dir": without_captions, **FIRST}),
    "caption_prefix": Act("sks", words_are(f"sks {TAGS}"), TAGGED),
    "caption_suffix": Act("sks", words_are(f"{TAGS} sks"), TAGGED),
    "shuffle_caption": Act(True, in_another_order(0), TAGGED),
    "keep_tokens": Act(3, in_another_order(3), MIXED),
    "keep_tokens_separator": Act(
        "|||",
        in_another_order(2, of="a, cat, dog, red, blue"),
        {**MIXED, "image_dir": captions("a, cat ||| dog, red, blue")},
    ),
    "caption_separator": Act(
        ";", in_another_order(0), {**MIXED, "image_dir": captions("a;cat;dog;red;blue")}
    ),
    "secondary_separator": Act(";;;", words_are("a,cat"), {"image_dir": captions("a;;;cat"), **FIRST}),
    "enable_wildcard": Act(True, chosen, {"image_dir": captions("{cat|dog}"), **FOUR}),
    "caption_dropout_rate": Act(1.0, words_are(""), TAGGED),
    "caption_dropout_every_n_epochs": Act(2, dropped_in_each_second_epoch, EACH_STEP),
    "caption_tag_dropout_rate": Act(1.0, words_are("a, cat"), {**TAGGED, "keep_tokens": 2}),
    "token_warmup_step": Act(4.0, tags_grow(1, 2, 3, 4), {**TAGGED, **FOUR}),
    "token_warmup_min": Act(3, tags_grow(3, 3, 4, 4), {**TAGGED, **FOUR, "token_warmup_step": 4.0}),
    "flip_aug": Act(True, some_are_mirrored, {"batch_size": 1, **FOUR}),
    "random_crop": Act(True, pictures_differ, {"image_dir": wide_pictures, "enable_bucket": False, **ALIVE}),
    "color_aug": Act(True, pictures_differ, {"batch_size": 1, **ALIVE, **FOUR}),
    "resize_interpolation": Act("nearest", pictures_differ, {"image_dir": wide_pictures, **FIRST}),
    "alpha_mask": Act(True, masked, {"image_dir": clear_pictures, **FIRST}),
    "conditioning_data_dir": Act(masks, masked, {"masked_loss": True, **FIRST}),
}
LAST_STATES: Final = ("tiny-step00000003-state", "tiny-step00000004-state")
SAVING: Final[dict[str, Act]] = {
    "output_name": Act("shown", files_are("shown.safetensors"), EACH_STEP),
    "save_every_n_epochs": Act(2, files_are(MADE, "tiny-000002.safetensors"), EACH_STEP),
    "save_every_n_steps": Act(
        2, files_are(MADE, "tiny-step00000002.safetensors", "tiny-step00000004.safetensors"), EACH_STEP
    ),
    "save_last_n_epochs": Act(
        1, files_are(MADE, "tiny-000003.safetensors"), {"save_every_n_epochs": 1, **EACH_STEP}
    ),
    "save_last_n_steps": Act(
        1,
        files_are(MADE, "tiny-step00000003.safetensors", "tiny-step00000004.safetensors"),
        {"save_every_n_steps": 1, **EACH_STEP},
    ),
    "save_last_n_epochs_state": Act(
        1,
        files_are(MADE, *(f"tiny-00000{n}.safetensors" for n in (1, 2, 3)), *LAST_STATES),
        {"save_every_n_epochs": 1, "save_state": True, **EACH_STEP},
    ),
    "save_last_n_steps_state": Act(
        1,
        files_are(MADE, *(f"tiny-step0000000{n}.safetensors" for n in (1, 2, 3, 4)), *LAST_STATES),
        {"save_every_n_steps": 1, "save_state": True, **EACH_STEP},
    ),
    "save_state": Act(
        True,
        files_are(MADE, "tiny-000002.safetensors", "tiny-step00000002-state", "tiny-step00000004-state"),
        {"save_every_n_epochs": 2, **EACH_STEP},
    ),
    "save_state_on_train_end": Act(True, files_are(MADE, "tiny-step00000004-state"), EACH_STEP),
    "resume": Act(a_state, goes_on, EACH_STEP),
}
SAMPLING: Final[dict[str, Act]] = {
    "sample_prompts": Act(
        ("a red dog --w 64 --h 64 --s 2",), drawn_otherwise, {**DRAWN, "sample_every_n_steps": 4}
    ),
    "sample_every_n_epochs": Act(2, drawn_at(2, 4), {**DRAWN, **EACH_STEP}),
    "sample_every_n_steps": Act(3, drawn_at(3), DRAWN),
    "sample_at_first": Act(True, drawn_at(0), DRAWN),
    "sample_sampler": Act("euler", drawn_otherwise, {**DRAWN, "sample_every_n_steps": 4}),
}
VALIDATION: Final[dict[str, Act]] = {
    "validate_every_n_epochs": Act(2, tested_at(2, 4), HELD_OUT),
    "validate_every_n_steps": Act(3, tested_at(3, 4), {**HELD_OUT, "num_repeats": 4, "max_train_epochs": 1}),
    "max_validation_steps": Act(1, fewer_tests, {**HELD_OUT, "batch_size": 1, "max_train_epochs": 1}),
}
NOTES: Final[dict[str, Act]] = {
    "metadata_title": Act("shown here", note_of("modelspec.title"), FIRST),
    "metadata_author": Act("shown here", note_of("modelspec.author"), FIRST),
    "metadata_trigger_phrase": Act("shown here", note_of("modelspec.trigger_phrase"), FIRST),
    "training_comment": Act("shown here", note_of("ss_training_comment"), FIRST),
}


def kept_on_the_disk(_one: Seen, other: Seen) -> None:
    assert any((other.run.dataset.datasets[0].subsets[0].image_dir / ".lora" / "latents").iterdir())


def kept_as_texts(_one: Seen, other: Seen) -> None:
    assert any((other.run.dataset.datasets[0].subsets[0].image_dir / ".lora" / "texts").iterdir())


def read_before(one: Seen, other: Seen) -> None:
    assert "Reading the captions" in other.ears.phases
    assert "Reading the captions" not in one.ears.phases


def is_noted(key: str) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert (one.notes[key], other.notes[key]) in {("True", "False"), ("False", "True")}

    return shows


def tells_of_compiling(one: Seen, other: Seen) -> None:
    assert not any("compiled" in note for note in one.ears.notes)
    assert any("compiled" in note for note in other.ears.notes)


def nothing_more(_one: Seen, _other: Seen) -> None:
    """There is nothing else to see."""


OWN_PICTURES: Final = {"image_dir": captions("a cat", "a dog", "a tree"), **FOUR}
SPEED_ONLY: Final[dict[str, tuple[str, Act]]] = {
    "cache_latents": (
        "It decides when pictures are made ready: a latent is drawn from the picture's content.",
        Act(False, is_noted("ss_cache_latents"), FOUR),
    ),
    "cache_latents_to_disk": (
        "It keeps the same latents on the disk, for the next run.",
        Act(True, kept_on_the_disk, OWN_PICTURES),
    ),
    "vae_batch_size": (
        "It decides how many pictures go through the VAE at once.",
        Act(1, nothing_more, FOUR),
    ),
    "gradient_checkpointing": (
        "It works numbers out a second time in place of keeping them.",
        Act(True, is_noted("ss_gradient_checkpointing"), FOUR),
    ),
    "torch_compile": (
        "It builds faster code for the same formulas, where that pays.",
        Act(True, tells_of_compiling, {"max_train_steps": 8}),
    ),
    "cache_text_encoder_outputs": (
        "It decides when captions are read.",
        Act(True, read_before, OWN_PICTURES),
    ),
    "cache_text_encoder_outputs_to_disk": (
        "It keeps on the disk what was read, for the next run.",
        Act(True, kept_as_texts, OWN_PICTURES),
    ),
}
"""Settings that change speed or memory and no number, each with the reason."""
