"""What docs/jobs.md claims, held against the code."""

import re
from pathlib import Path

from lora_core.jobs.kinds import BESIDE, KINDS
from lora_core.jobs.records import STATES, TABLE
from lora_core.jobs.runner import IDLE_S

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text("utf-8")


def test_the_table_of_states_is_the_one_of_the_code() -> None:
    section = PAGE.partition("## States")[2].partition("*Failed*")[0]
    told: dict[str, set[str]] = {}
    for before, after in re.findall(r"^\| ([a-z, ]+) \| ([a-z, ]+) \|$", section, re.MULTILINE):
        for state in before.split(", "):
            told[state] = set() if after == "nothing" else set(after.split(", "))
    told.pop("state")
    assert told == {state: set(TABLE[state]) for state in STATES}


def test_the_times_and_numbers_are_those_of_the_code() -> None:
    assert (
        f"({KINDS['train'].grace_s:.0f} s for training, {KINDS['import'].grace_s:.0f} s for other jobs"
        in PAGE
    )
    assert f"after {IDLE_S:.0f} s without anything to do" in PAGE
    assert BESIDE == 2
    assert "two other jobs may run beside it" in PAGE
