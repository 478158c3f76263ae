"""The notes in a LoRA file against what sd-scripts' own code writes for the same training."""

import ast
import hashlib
import importlib
import json
import logging
import math
import os
import sys
import time
from collections import namedtuple
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from sd_scripts_code import piece
from tiny_models import tiny_sdxl
from trainer_rig import Rig, draw_pictures

from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.lora_file import write_lora
from lora_core.engines.diffusers.metadata import Moment, lora_metadata
from lora_core.engines.diffusers.pictures import Pictures, read_pictures
from lora_core.reporting import NullReporter
from lora_core.settings import RunConfig, load_run

MOMENT = Moment(step=3, epoch=1, session_id=9, started_at=1.5)
OURS = {"modelspec.implementation_version", "modelspec.date"}
"""What names the trainer and the second."""


def read(folder: Path) -> tuple[RunConfig, Pictures, dict[str, str]]:
    run = load_run(folder / "config.toml", folder / "dataset.toml")
    pictures = read_pictures(run, NullReporter())
    return run, pictures, lora_metadata(run, Plan(run, pictures.training), pictures, MOMENT)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("size", [1000, 400_000], ids=["shorter than a MiB", "longer"])
def test_both_hashes_are_those_of_sd_scripts(tmp_path: Path, size: int) -> None:
    tensors = {"b.alpha": torch.tensor(2.0), "a.lora_down.weight": torch.randn(size).reshape(2, -1)}
    notes = {"ss_seed": "1", "modelspec.title": "a title", "ss_tag_frequency": '{"1_ä": {"b": 2}}'}
    hashes = {
        name: piece(name, hashlib=hashlib) for name in ("addnet_hash_safetensors", "addnet_hash_legacy")
    }
    theirs = piece("precalculate_safetensors_hashes", safetensors=safetensors, BytesIO=BytesIO, **hashes)
    path = tmp_path / "a.safetensors"
    write_lora(path, tensors, notes)
    with safe_open(path, "pt") as file:
        found = file.metadata()
    assert (found["sshs_model_hash"], found["sshs_legacy_hash"]) == theirs(tensors, notes)
    assert {name: found[name] for name in notes} == notes


def their_spec(run: RunConfig, *, v: bool) -> dict[str, str]:
    utilities = ModuleType("library.utils")
    utilities.setup_logging = lambda *_args, **_options: None  # type: ignore[attr-defined]  # made here
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(os.environ["LORA_SD_SCRIPTS"])
        patch.setitem(sys.modules, "library.utils", utilities)
        try:
            standard = importlib.import_module("library.sai_model_spec")
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "library"]:
                del sys.modules[name]
        arguments = SimpleNamespace(
            v2=False,
            v_parameterization=v,
            resolution=run.dataset.datasets[0].resolution,
            output_name=run.saving.output_name,
            min_timestep=run.loss.min_timestep,
            max_timestep=run.loss.max_timestep,
            clip_skip=run.text.clip_skip,
            **dict.fromkeys(f"metadata_{name}" for name in ("description", "license", "tags")),
            **{key: getattr(run.metadata, key) for key in ("metadata_title", "metadata_author")},
            metadata_trigger_phrase=run.metadata.metadata_trigger_phrase,
        )
        sdxl = run.model.pretrained_model_name_or_path.name == "sdxl"
        build = piece("get_sai_model_spec", sai_model_spec=standard, time=time)
        spec: dict[str, str] = build(None, arguments, sdxl, True, False)
        return spec


@pytest.mark.sd_scripts
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"v_parameterization": True, "metadata_title": "A title", "metadata_author": "Someone"},
        {"min_timestep": 100, "metadata_trigger_phrase": "sks"},
        {"max_timestep": 600, "min_timestep": 0, "clip_skip": 2},
    ],
    ids=str,
)
def test_the_model_spec_is_that_of_sd_scripts(
    tmp_path: Path, base_model: Path, family: str, settings: dict[str, Any]
) -> None:
    base = base_model
    if family == "sdxl":
        base = tmp_path / "sdxl"
        tiny_sdxl(base)
        settings = {key: value for key, value in settings.items() if key != "clip_skip"}  # without effect
    run, _, notes = read(Rig(tmp_path, base).folder(**settings))
    ours = {name: note for name, note in notes.items() if name.startswith("modelspec.")}
    theirs = their_spec(run, v="v_parameterization" in settings)
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} <= OURS


@pytest.mark.sd_scripts
def test_the_names_of_the_notes_are_those_in_the_code_of_sd_scripts(rig: Rig) -> None:
    """Those of `train_network.py` with a dataset file; how older ways are noted is left out."""
    run, _, notes = read(rig.folder(network_args=["conv_dim=2"], vae=str(rig.base / "vae"), clip_skip=1))
    tree = ast.parse((Path(os.environ["LORA_SD_SCRIPTS"]) / "train_network.py").read_text("utf-8"))
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("ss_")
    }
    older = {
        "batch_size_per_device",
        "total_batch_size",
        "resolution",
        "color_aug",
        "flip_aug",
        "random_crop",
    }
    older |= {"shuffle_caption", "enable_bucket", "bucket_no_upscale", "min_bucket_reso", "max_bucket_reso"}
    older |= {"keep_tokens", "reg_dataset_dirs", "bucket_info"}
    assert {name for name in notes if name.startswith("ss_")} == names - {f"ss_{name}" for name in older}
    assert run.model.vae is not None
    (table,) = json.loads(notes["ss_datasets"])
    assert set(table) == literal_keys(tree, "dataset_metadata") | {"subsets"}
    added = {"image_dir", "class_tokens", "is_reg"}
    assert set(table["subsets"][0]) == literal_keys(tree, "subset_metadata") | added


def literal_keys(tree: ast.Module, name: str) -> set[str]:
    """The keys of the table that is first given to this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if targets == [name]:
                return {str(ast.literal_eval(key)) for key in node.value.keys if key is not None}
    raise LookupError(name)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("shape", [{}, {"bucket_no_upscale": True}, {"enable_bucket": False}], ids=str)
def test_buckets_and_tags_are_counted_as_in_sd_scripts(
    tmp_path: Path, rig: Rig, shape: dict[str, Any]
) -> None:
    folder = tmp_path / "pictures"
    draw_pictures(folder, [(48, 48), (64, 40), (40, 64), (300, 200), (52, 50), (41, 160)])
    (folder / "01.txt").write_text("Red,  red , Big DOG,, a\n", "utf-8")
    _, pictures, notes = read(rig.folder(dataset=shape, subset={"num_repeats": 3}))
    (table,) = json.loads(notes["ss_datasets"])
    dataset = SimpleNamespace(
        image_data={
            str(each.path): SimpleNamespace(
                image_key=str(each.path), image_size=(each.entry.width, each.entry.height), num_repeats=3
            )
            for each in pictures.training
        },
        enable_bucket=shape.get("enable_bucket", True),
        bucket_no_upscale=shape.get("bucket_no_upscale", False),
        bucket_manager=None,
        bucket_info=None,
        bucket_reso_steps=16,
        batch_size=2,
        shuffle_buckets=lambda: None,
        tag_frequency={},
        **dict.fromkeys(("width", "height"), 48),
        min_bucket_reso=32,
        max_bucket_reso=64,
    )
    tables = SimpleNamespace(
        make_bucket_resolutions=piece("make_bucket_resolutions", "library/model_util.py")
    )
    quiet = logging.getLogger("quiet")
    quiet.disabled = True
    piece(
        "BaseDataset.make_buckets",
        BucketManager=piece("BucketManager", np=np, model_util=tables, logger=quiet),
        BucketBatchIndex=namedtuple("BucketBatchIndex", "bucket size batch"),
        logger=quiet,
        tqdm=list,
        np=np,
        math=math,
    )(dataset)
    piece("BaseDataset.set_tag_frequency")(dataset, "pictures", [each.caption for each in pictures.training])
    theirs = json.loads(json.dumps(dataset.bucket_info))
    if theirs is not None:
        assert table["bucket_info"].pop("mean_img_ar_error") == pytest.approx(theirs.pop("mean_img_ar_error"))
    assert table["bucket_info"] == theirs
    assert table["tag_frequency"] == dataset.tag_frequency == json.loads(notes["ss_tag_frequency"])


def test_a_base_model_from_the_hub_is_noted_by_its_whole_name(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers import metadata_base

    folder = rig.folder(pretrained_model_name_or_path="someone/a-model")
    found = metadata_base.inspect_base(rig.base)
    monkeypatch.setattr(metadata_base, "inspect_base", lambda _name: found)
    _, _, notes = read(folder)
    assert notes["ss_sd_model_name"] == "someone/a-model"
    assert "ss_sd_model_hash" not in notes
    assert "ss_new_sd_model_hash" not in notes
