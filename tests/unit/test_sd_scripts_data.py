"""Folders, class images, held-back pictures and buckets against sd-scripts' own code."""

import glob
import json
import logging
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from sd_scripts_code import piece
from test_engine_pictures import picture

from lora_core.datasets.buckets import Buckets
from lora_core.engines.diffusers.pictures import read_pictures, uses_of
from lora_core.reporting import NullReporter
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
)

pytestmark = pytest.mark.sd_scripts


class _Base:
    """What `DreamBoothDataset` needs of its base while it reads folders."""

    tag_frequency: ClassVar[dict[str, Any]] = {}
    resize_interpolation = None

    def __init__(self, resolution: tuple[int, int], *_: Any) -> None:
        self.width, self.height = resolution
        self.image_data: dict[str, Any] = {}
        self.subsets: list[Any] = []

    def register_image(self, info: Any, subset: Any) -> None:
        self.image_data[info.image_key] = info

    def set_tag_frequency(self, *_: Any) -> None:
        pass

    def adjust_min_max_bucket_reso_by_steps(self, _: Any, low: int, high: int, __: int) -> tuple[int, int]:
        return low, high


def as_sd_scripts_reads(table: DatasetSettings) -> dict[str, tuple[int, str, bool]]:
    """Uses, caption and class mark of each image that an epoch uses, by path."""
    dataset_class = piece(
        "DreamBoothDataset",
        BaseDataset=_Base,
        ImageInfo=piece("ImageInfo"),
        LatentsCachingStrategy=SimpleNamespace(get_strategy=lambda: None),
        split_train_val=piece("split_train_val", random=random, logging=logging),
        glob_images=piece("glob_images", glob=glob, os=os, IMAGE_EXTENSIONS=[".png"]),
        logger=logging.getLogger("quiet"),
        tqdm=lambda items, **_: items,
        **{module.__name__: module for module in (glob, json, os, random)},
    )
    subset_class = piece("DreamBoothSubset", BaseSubset=piece("BaseSubset"))
    left_out = {"other", "conditioning_data_dir", "image_dir", "cache_info"}
    subsets = [
        subset_class(
            image_dir=str(subset.image_dir),
            cache_info=False,
            **subset.model_dump(exclude=left_out),
        )
        for subset in table.subsets
    ]
    shape = (table.enable_bucket, table.min_bucket_reso, table.max_bucket_reso, table.bucket_reso_steps)
    split = (table.validation_split, table.validation_seed)
    dataset = dataset_class(
        subsets, True, 1, table.resolution, 1.0, *shape, table.bucket_no_upscale, 1.0, False, *split, None
    )
    return {path: (info.num_repeats, info.caption, info.is_reg) for path, info in dataset.image_data.items()}


def as_we_read(table: DatasetSettings) -> dict[str, tuple[int, str, bool]]:
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("base")),
        dataset=DatasetFile(datasets=(table,)),
    )
    uses = uses_of(read_pictures(run, NullReporter()).training)
    return {
        str(each.path): (count, each.caption, each.subset.is_reg) for each, count in uses.items() if count
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    for name, count in (("mine", 4), ("bare", 3), ("class", 7)):
        for number in range(count):
            caption = None if name == "bare" else f"{name} {number}\n\n second, {{a|b}} \n"
            picture(tmp_path / name / f"{number}.png", 64, 64, caption)
    return tmp_path / "mine", tmp_path / "bare", tmp_path / "class"


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 5, 1), (9, 1, 2), (1, 1, 6)])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_folders_are_read_and_class_images_counted_as_in_sd_scripts(
    folders: tuple[Path, Path, Path], repeats: tuple[int, int, int], share: float
) -> None:
    mine, bare, of_class = folders
    table = DatasetSettings(
        subsets=(
            SubsetSettings(image_dir=of_class, num_repeats=repeats[2], is_reg=True),
            SubsetSettings(image_dir=mine, num_repeats=repeats[0], enable_wildcard=True),
            SubsetSettings(image_dir=bare, num_repeats=repeats[1], class_tokens="a cat"),
        ),
        resolution=(64, 64),
        min_bucket_reso=64,
        max_bucket_reso=64,
        validation_split=share,
        validation_seed=5,
    )
    assert as_we_read(table) == as_sd_scripts_reads(table)


@pytest.mark.parametrize("no_upscale", [False, True])
@pytest.mark.parametrize("side", [512, 1024])
def test_buckets_are_those_of_sd_scripts(side: int, no_upscale: bool) -> None:
    tables = SimpleNamespace(
        make_bucket_resolutions=piece("make_bucket_resolutions", "library/model_util.py")
    )
    manager = piece("BucketManager", np=np, model_util=tables)(no_upscale, (side, side), 256, 2048, 64)
    manager.make_buckets()
    ours = Buckets(resolution=(side, side), max_bucket_reso=2048, bucket_no_upscale=no_upscale)
    for width, height in np.random.default_rng(side).integers(80, 4000, (3000, 2)).tolist():
        placement = ours.place(width, height)
        assert placement is not None
        bucket, resized, _error = manager.select_bucket(width, height)
        assert (placement.bucket, placement.resized) == (bucket, resized)
