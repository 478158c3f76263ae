"""What a caption becomes at each use: vectors written by hand, and the same from sd-scripts' own code."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sd_scripts_code import piece

from lora_core.datasets.words import Moment, changes, words
from lora_core.settings import SubsetSettings

START = Moment(epoch=1, step=0, steps=100)


class Scripted:
    """Chance whose numbers are written down: shuffling turns a list around."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def integers(self, low: int) -> int:
        return int(self.numbers.pop(0)) % low

    def shuffle(self, x: Any) -> None:
        x.reverse()


def used(caption: str, *numbers: float, at: Moment = START, **settings: Any) -> str:
    chance = Scripted(*numbers)
    text = words(caption, SubsetSettings(image_dir=Path("x"), **settings), at, chance)
    assert not chance.numbers, "fewer numbers were drawn than sd-scripts draws"
    return text


def test_a_caption_is_used_as_written_unless_something_is_switched_on() -> None:
    assert used("b,a ,  c, (d:1.2)") == "b,a ,  c, (d:1.2)"


def test_prefix_and_suffix_are_joined_with_a_blank_and_stand_outside_all_else() -> None:
    assert used("a, b", caption_prefix="sks,", caption_suffix="end") == "sks, a, b end"
    shuffled = used("a, b, c", caption_prefix="sks,", shuffle_caption=True, keep_tokens=1)
    assert shuffled == "sks, c, b, a"


def test_shuffling_keeps_the_first_tags_and_joins_with_comma_and_blank() -> None:
    assert used("a;b ;c", shuffle_caption=True, caption_separator=";", keep_tokens=1) == "a, c, b"


def test_shuffling_keeps_empty_and_repeated_tags_as_the_engine_does() -> None:
    assert used("a,,a", shuffle_caption=True, keep_tokens=3) == "a, , a"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("sks, cat ||| a, b, c", "sks, cat, c, b, a"),
        ("sks ||| a, b ||| last, end", "sks, b, a, last, end"),
        ("||| a, b |||", "b, a"),
        ("a, b, c", "a, c, b"),  # without the sign, the number of tags counts
    ],
)
def test_a_sign_in_the_caption_says_which_tags_stay(caption: str, expected: str) -> None:
    assert used(caption, shuffle_caption=True, keep_tokens=1, keep_tokens_separator="|||") == expected


def test_tags_that_belong_together_move_as_one_and_are_parted_at_the_end() -> None:
    settings: dict[str, Any] = {"secondary_separator": ";;;", "shuffle_caption": True}
    assert used("a, b;;;c, d", **settings) == "d, b,c, a"


def test_a_dropped_caption_is_empty_and_nothing_more_is_drawn_for_it() -> None:
    settings: dict[str, Any] = {"caption_dropout_rate": 0.1, "caption_tag_dropout_rate": 0.5}
    assert used("a", 0.09, caption_prefix="sks,", **settings) == ""
    assert used("a, b", 0.1, 0.5, 0.49, **settings) == "a"


def test_captions_are_dropped_in_every_nth_epoch_counted_from_one() -> None:
    dropped = [
        used("a", at=Moment(epoch, 0, 9), caption_dropout_every_n_epochs=2) == "" for epoch in range(1, 5)
    ]
    assert dropped == [False, True, False, True]


def test_tags_that_stay_are_never_dropped() -> None:
    assert used("sks, a, b", 0.0, 0.9, caption_tag_dropout_rate=0.5, keep_tokens=1) == "sks, b"
    kept = used("sks ||| a ||| z", 0.0, caption_tag_dropout_rate=0.5, keep_tokens_separator="|||")
    assert kept == "sks, z"


@pytest.mark.parametrize("until", [40.0, 0.4])
def test_the_number_of_tags_grows_with_the_steps(until: float) -> None:
    caption = "sks, a, b, c, d, e"
    counts = []
    for step in (0, 9, 10, 20, 39, 40, 41):
        at = Moment(1, step, 100)
        text = used(caption, at=at, token_warmup_step=until, token_warmup_min=1, keep_tokens=1)
        counts.append(len(text.split(", ")))
    assert counts == [2, 2, 3, 4, 5, 6, 6]


def test_one_line_and_one_of_each_choice_are_picked_and_double_braces_are_braces() -> None:
    caption = "a {red|blue|green} cat\na {{plain}} {one} dog"
    assert used(caption, 0, 2, enable_wildcard=True) == "a green cat"
    assert used(caption, 1, 0, enable_wildcard=True) == "a {plain} one dog"


def test_without_choices_only_the_first_line_counts_and_braces_stay() -> None:
    assert used("a {red|blue} cat\nsecond") == "a {red|blue} cat"


def test_what_is_switched_on_is_known_to_change_a_caption() -> None:
    fixed: dict[str, Any] = {"caption_prefix": "x", "secondary_separator": ";", "keep_tokens": 1}
    assert not changes(SubsetSettings(image_dir=Path("x"), **fixed))
    for name, value in (("caption_dropout_rate", 0.1), ("token_warmup_step", 5.0), ("enable_wildcard", True)):
        switched_on: dict[str, Any] = {name: value}
        assert changes(SubsetSettings(image_dir=Path("x"), **switched_on))


CASES: list[dict[str, Any]] = [
    {"shuffle_caption": True, "keep_tokens": 2},
    {"shuffle_caption": True, "keep_tokens_separator": "|||", "caption_tag_dropout_rate": 0.3},
    {"caption_dropout_rate": 0.4, "caption_prefix": "pre", "caption_suffix": "post, end"},
    {"enable_wildcard": True, "shuffle_caption": True, "secondary_separator": ";;;"},
    {"token_warmup_step": 0.5, "token_warmup_min": 2, "shuffle_caption": True},
    {"token_warmup_step": 30, "caption_dropout_every_n_epochs": 3, "caption_separator": ";"},
]
CAPTIONS = (
    "sks, a, b;;;c, {x|y|z}, d, , d",
    "one ||| two, three, four ||| last;;;one, end",
    "a {{b}} {c|d}\nsecond {e|f} line, tag\nthird",
    "",
)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("settings", CASES)
def test_captions_are_those_of_sd_scripts_drawn_from_the_same_numbers(settings: dict[str, Any]) -> None:
    subset = SubsetSettings(image_dir=Path("x"), **settings)
    chance = SimpleNamespace()
    process_caption = piece("BaseDataset.process_caption", random=chance)
    for number in range(40):
        ours, theirs = (np.random.default_rng(number) for _ in range(2))
        at = Moment(epoch=1 + number % 4, step=number * 2, steps=100)
        chance.__dict__.update(_as_random(theirs))
        dataset = SimpleNamespace(
            current_epoch=at.epoch, current_step=at.step, max_train_steps=at.steps, replacements={}
        )
        for caption in CAPTIONS:
            expected = process_caption(dataset, SimpleNamespace(**subset.model_dump()), caption)
            assert words(caption, subset, at, ours) == expected


def _as_random(rng: np.random.Generator) -> dict[str, Any]:
    def choice(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    return {"random": rng.random, "shuffle": rng.shuffle, "choice": choice}
