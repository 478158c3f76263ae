"""Real trainings in front of a browser: their steps on the disk, and one that stands still meanwhile."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil

from lora_core.jobs import Job, liveness, look

LOADING_MS: Final = 300_000  # torch and the base model, on a machine with much else to do


def steps_on_disk(job: Job) -> list[int]:
    try:
        lines = (job.folder / "progress.jsonl").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    return [record["step"] for record in records if "loss" in record]


@contextmanager
def held_at_a_step(job: Job) -> Iterator[int]:
    """The training stands still after one of its first steps, so that no machine is too fast for the test."""
    until = time.monotonic() + LOADING_MS / 1000
    while not steps_on_disk(job):
        assert time.monotonic() < until, "It never did its first step."
        time.sleep(0.02)
    owner = liveness.read_owner(look.engine_lock(job.folder))
    assert owner is not None
    process = psutil.Process(owner.pid)
    process.suspend()
    try:
        yield steps_on_disk(job)[-1]
    finally:
        process.resume()
