"""Buckets, batches, steps and epochs of whole runs, against the code with which sd-scripts counts them."""

import ast
import logging
import math
import os
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sd_scripts_code import piece

from lora_core.datasets.images import Folder, ImageEntry
from lora_core.planning import RunImages, SubsetImages, plan
from lora_core.planning.steps import buckets_of
from lora_core.settings import (
    BatchSettings,
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    ScheduleSettings,
    SubsetSettings,
)

pytestmark = pytest.mark.sd_scripts
QUIET = logging.getLogger("quiet")

SIDE = st.integers(64, 3000)
SIZES = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> tuple[DatasetSettings, list[list[tuple[int, int]]]]:
    """A dataset table and the sizes of the images in each of its folders."""
    step = draw(st.sampled_from([8, 16, 32, 64]))
    resolution = draw(st.tuples(st.integers(2, 16), st.integers(2, 16)))
    width, height = resolution[0] * 64, resolution[1] * 64
    low = draw(st.integers(step, min(width, height)))
    high = draw(st.integers(max(width, height), 3000))
    folders = draw(st.lists(SIZES, min_size=1, max_size=3))
    subsets = tuple(
        SubsetSettings(image_dir=Path(f"/images/{number}"), num_repeats=draw(st.integers(1, 7)))
        for number in range(len(folders))
    )
    table = DatasetSettings(
        subsets=subsets,
        resolution=(width, height),
        batch_size=draw(st.integers(1, 9)),
        enable_bucket=draw(st.booleans()),
        bucket_no_upscale=draw(st.booleans()),
        min_bucket_reso=low,
        max_bucket_reso=high,
        bucket_reso_steps=step,
    )
    return table, folders


def folder_of(subset: SubsetSettings, sizes: list[tuple[int, int]]) -> SubsetImages:
    images = tuple(
        ImageEntry(
            path=subset.image_dir / f"{number}.png",
            width=width,
            height=height,
            caption="a",
            size_bytes=1,
            mtime_ns=1,
        )
        for number, (width, height) in enumerate(sizes)
    )
    return SubsetImages(0, subset, Folder(path=subset.image_dir, images=images, problems=()), None)


@cache
def pieces() -> tuple[Any, Any, Any]:
    """What sd-scripts counts with: its buckets, its limits of their sides, and the walk over the images."""
    makes = SimpleNamespace(make_bucket_resolutions=piece("make_bucket_resolutions", "library/model_util.py"))
    manager = piece("BucketManager", np=np, random=random, model_util=makes)
    counts = piece(
        "BaseDataset.make_buckets", BucketManager=manager, BucketBatchIndex=lambda *of: of, np=np,
        logger=QUIET, tqdm=lambda items: items,
    )  # fmt: skip
    return piece("BaseDataset.adjust_min_max_bucket_reso_by_steps", logger=QUIET), counts, _line()


def _line() -> Any:
    """The line of sd-scripts that turns epochs into steps."""
    tree = ast.parse((Path(os.environ["LORA_SD_SCRIPTS"]) / "train_network.py").read_text("utf-8"))
    (line,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "args.max_train_steps"
        and "num_processes" in ast.unparse(node.value)
    )
    return compile(ast.Expression(line), "train_network.py", "eval")


def as_sd_scripts_counts(table: DatasetSettings, folders: list[list[tuple[int, int]]]) -> tuple[int, Any]:
    """Batches of an epoch, and for each bucket its size and how many images an epoch takes from it."""
    adjusts, counts, _ = pieces()
    low, high = table.min_bucket_reso, table.max_bucket_reso
    if table.enable_bucket:
        low, high = adjusts(None, table.resolution, low, high, table.bucket_reso_steps)
    infos = {
        f"{number} {index}": SimpleNamespace(
            image_key=f"{number} {index}", image_size=size, num_repeats=subset.num_repeats
        )
        for number, (subset, sizes) in enumerate(zip(table.subsets, folders, strict=True))
        for index, size in enumerate(sizes)
    }
    dataset = SimpleNamespace(
        image_data=infos, enable_bucket=table.enable_bucket, bucket_manager=None,
        bucket_no_upscale=table.bucket_no_upscale, width=table.resolution[0], height=table.resolution[1],
        min_bucket_reso=low, max_bucket_reso=high, bucket_reso_steps=table.bucket_reso_steps,
        batch_size=table.batch_size, shuffle_buckets=lambda: None,
    )  # fmt: skip
    counts(dataset)
    found = zip(dataset.bucket_manager.resos, dataset.bucket_manager.buckets, strict=True)
    return dataset._length, sorted((size, len(images)) for size, images in found if images)


def epoch_length(batches: int, processes: int, accumulation: int) -> int:
    """The steps of an epoch by the line of sd-scripts that turns epochs into steps."""
    scope = {
        "math": math,
        "train_dataloader": range(batches),
        "accelerator": SimpleNamespace(num_processes=processes),
        "args": SimpleNamespace(max_train_epochs=1, gradient_accumulation_steps=accumulation),
    }
    return int(eval(pieces()[2], scope))  # noqa: S307  the checkout that the tester named


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 20))
def test_steps_and_epochs_are_those_of_sd_scripts(
    drawn: tuple[DatasetSettings, list[list[tuple[int, int]]]], accumulation: int, processes: int, epochs: int
) -> None:
    table, folders = drawn
    buckets = buckets_of(table)
    assume(not list(buckets.problems()))
    assume(all(buckets.place(*size) is not None for sizes in folders for size in sizes))
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/no/base")),
        batch=BatchSettings(gradient_accumulation_steps=accumulation),
        schedule=ScheduleSettings(max_train_epochs=epochs),
        dataset=DatasetFile(datasets=(table,)),
    )
    found = RunImages(tuple(folder_of(s, sizes) for s, sizes in zip(table.subsets, folders, strict=True)))
    ours = plan(run, found, processes=processes)
    assert ours is not None
    batches, counted = as_sd_scripts_counts(table, folders)
    assert [(tuple(count.size), count.uses) for count in ours.buckets] == counted
    assert ours.batches_per_epoch == batches
    assert ours.steps_per_epoch == epoch_length(batches, processes, accumulation)
    assert (ours.steps, ours.epochs) == (epochs * ours.steps_per_epoch, epochs)
