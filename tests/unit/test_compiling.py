"""When compiling the model pays for itself: decided from times, told in words."""

import pytest

pytest.importorskip("torch", reason="the decision lives beside what it acts on")

from lora_core.engines.diffusers.compiling import Compiling, Guess, build_time, pays, worth_trying

GUESS = Guess(compile_s=100.0, share=0.9)


@pytest.mark.parametrize(
    ("compile_s", "before_s", "after_s", "steps", "expected"),
    [
        (270.0, 3.3, 3.0, 900, False),
        (270.0, 3.3, 3.0, 901, True),
        (0.0, 1.0, 1.0, 1000, False),
        (10.0, 1.0, 2.0, 10**6, False),
        (60.0, 0.2, 0.1, 0, False),
    ],
)
def test_compiling_pays_once_the_saved_time_is_more_than_it_takes(
    compile_s: float, before_s: float, after_s: float, steps: int, expected: bool
) -> None:
    assert pays(compile_s, before_s, after_s, steps) is expected


def test_a_run_too_short_for_the_expected_gain_is_not_tried() -> None:
    assert not worth_trying(1.0, 1000, GUESS)
    assert worth_trying(1.0, 1001, GUESS)


def test_the_time_of_building_is_what_steps_took_above_their_later_pace() -> None:
    assert build_time([30.0, 8.0, 2.0, 1.5], 2.0) == 34.0


class Blocks:
    """Counts what is done to it; has no blocks to compile."""

    def __init__(self) -> None:
        self.asked = 0

    def modules(self) -> list[object]:
        self.asked += 1
        return []


def told(times: list[float], steps: int, *, wanted: bool = True) -> tuple[list[str], Blocks]:
    blocks = Blocks()
    compiling = Compiling(blocks, wanted=wanted, device="cpu")
    heard = [compiling.after_step(each, steps - number) for number, each in enumerate(times, 1)]
    return [text for text in heard if text], blocks


def test_a_run_that_does_not_want_it_is_left_alone() -> None:
    assert told([1.0] * 50, 10**6, wanted=False)[0] == []


def test_a_short_run_is_told_why_it_is_not_compiled() -> None:
    notes, blocks = told([5.0, 5.0] + [1.0] * 20, 100)
    assert notes == ["The model is not compiled: 93 steps of 1.00 s are left, and that takes about 270 s."]
    assert blocks.asked == 0


def test_a_long_run_is_compiled_and_told_what_it_brought() -> None:
    notes, blocks = told([1.0] * 7 + [91.0, 1.0] + [0.5] * 5 + [0.5] * 20, 10_000)
    assert len(notes) == 2
    assert "compiled now" in notes[0]
    assert "Compiling took 91 s. A step takes 0.50 s and took 1.00 s before" in notes[1]
    assert blocks.asked == 1


def test_a_run_that_did_not_become_faster_goes_back() -> None:
    notes, blocks = told([1.0] * 7 + [91.0, 1.0] + [1.2] * 5, 10_000)
    assert "without compiled code" in notes[1]
    assert blocks.asked == 2
