"""How often class images are used: counted by hand, and as sd-scripts' loop counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.datasets.class_images import class_uses


@pytest.mark.parametrize(
    ("repeats", "learned", "uses"),
    [
        ([1, 1, 1], 3, [1, 1, 1]),
        ([1, 1, 1], 7, [3, 2, 2]),
        ([2, 1], 6, [4, 2]),
        ([1, 1, 1, 1], 2, [1, 1, 0, 0]),  # more than are learned: the rest is not used
        ([5, 1], 3, [5, 0]),  # the last one that is reached keeps all its repeats
        ([1], 0, [0]),
        ([], 4, []),
    ],
)
def test_class_images_are_used_as_often_as_the_learned_ones(
    repeats: list[int], learned: int, uses: list[int]
) -> None:
    assert class_uses(repeats, learned) == uses


@given(st.lists(st.integers(1, 6), max_size=8), st.integers(0, 60))
def test_the_count_is_that_of_counting_one_by_one(repeats: list[int], learned: int) -> None:
    counted, total, first = [0] * len(repeats), 0, True
    while counted and total < learned:
        for index, times in enumerate(repeats):
            added = times if first else 1
            counted[index] += added
            total += added
            if total >= learned:
                break
        first = False
    assert class_uses(repeats, learned) == counted
