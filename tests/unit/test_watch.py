"""What a run notices by itself: memory that spills out of the card, no room for the next save."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from lora_core.engines.diffusers import watch
from lora_core.engines.diffusers.watch import Watch, slowed, spills

CARD = torch.device("cuda", 0)
GIB = 2**30
Usage = namedtuple("Usage", "total used free")

STEADY = [9.0, *[1.0] * 10]
"""The first step of a run compiles and fills caches."""


@pytest.mark.parametrize(
    ("step_s", "times"),
    [
        ([], 1.0),
        ([1.0] * 11, 1.0),
        ([*STEADY, 3.5, 3.0, 4.0], 3.0),
        ([*STEADY, 9.0], 1.0),  # one step alone may be another program
        ([*STEADY, 9.0, 9.0, 1.0], 1.0),
        ([9.0, 1.0, 1.0, 1.0, 9.0, 9.0, 9.0], 1.0),  # no pace of its own yet
        ([0.0] * 14, 1.0),
    ],
)
def test_a_run_is_slow_when_several_steps_are_against_its_own_pace(step_s: list[float], times: float) -> None:
    assert slowed(step_s) == times


@pytest.mark.parametrize(
    ("used", "total", "found"), [(7900.0, 8000.0, True), (7000.0, 8000.0, False), (0.0, 0.0, False)]
)
def test_it_spills_only_while_the_card_is_full(used: float, total: float, found: bool) -> None:
    assert spills([*STEADY, 3.5, 3.0, 4.0], used, total) is found
    assert not spills([*STEADY, 2.9, 2.9, 2.9], used, total)


def steps(watching: Watch, step_s: list[float]) -> list[str]:
    return [told for each in step_s if (told := watching.spilled(each))]


def test_a_spill_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (GIB // 10, 8 * GIB))
    watching = Watch(tmp_path, CARD, 10)
    (told,) = steps(watching, [*STEADY, *[4.0] * 6])
    assert "4 times as long as before" in told
    assert "7.9 of 8.0 GiB" in told
    assert "Pause the run" in told


def test_slow_steps_of_a_card_with_room_or_of_a_cpu_are_nobody_s_spill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (4 * GIB, 8 * GIB))
    assert steps(Watch(tmp_path, CARD, 10), [*STEADY, *[4.0] * 6]) == []
    assert steps(Watch(tmp_path, torch.device("cpu"), 10), [*STEADY, *[4.0] * 6]) == []


def test_the_next_save_is_as_large_as_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = watch.MARGIN_BYTES + 3000
    monkeypatch.setattr(watch.shutil, "disk_usage", lambda _place: Usage(0, 0, free))
    watching = Watch(tmp_path, CARD, 10)
    assert watching.no_room() == "", "10 weights are small"
    (tmp_path / "a.safetensors").write_bytes(bytes(3001))
    watching.wrote(tmp_path / "a.safetensors")
    assert watching.no_room().startswith(
        "The disk is full: the next save needs 1.0 MiB, and 1.0 MiB are free."
    )
