"""The notes in a LoRA file's header, under the names and in the forms that sd-scripts writes.

Other programs read them: A1111 and Forge list the tags, Civitai the training facts. All values are
text, an unset one is the text `None`, lists are JSON. Facts about settings that this trainer does
not have are written as sd-scripts writes them when they are off, so that readers find what they
expect.

Covered: `ss_*` as train_network.py of sd-scripts at 48d368f with a dataset file, `modelspec.*`
1.0.1. Not covered: `sshs_*` (see `lora_file.py`).
"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.metadata_base import base_facts, base_spec
from lora_core.engines.diffusers.optimizers import optimizer_name
from lora_core.engines.diffusers.pictures import Picture, Pictures
from lora_core.settings import RunConfig, placed_values
from lora_core.settings.concern_network import LYCORIS

VERSION: Final = "0.1.0"
_OFF: Final[Mapping[str, Any]] = {
    "ss_full_fp16": False, "ss_fp8_base_unet": False, "ss_v2": False, "ss_lowram": False,
    "ss_prior_loss_weight": 1.0, "ss_caption_dropout_rate": 0.0, "ss_caption_dropout_every_n_epochs": 0,
    "ss_caption_tag_dropout_rate": 0.0, "ss_face_crop_aug_range": None, "ss_resize_interpolation": None,
    "ss_num_reg_images": 0, "ss_sd_scripts_commit_hash": "(unknown)",
}  # fmt: skip
"""What sd-scripts has and this trainer does not, as sd-scripts writes it when it is off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What differs between the files of one run."""

    step: int
    epoch: int
    session_id: int
    started_at: float
    """Seconds since 1970."""


def lora_metadata(run: RunConfig, plan: Plan, pictures: Pictures, moment: Moment) -> dict[str, str]:
    """Everything that a LoRA file of this run says about itself at `moment`."""
    facts = {
        **_OFF,
        **_run_facts(run, plan, pictures, moment),
        **_setting_facts(run),
        **_dataset_facts(run, plan, pictures),
    }
    return {**{key: str(value) for key, value in facts.items()}, **_model_spec(run)}


def _run_facts(run: RunConfig, plan: Plan, pictures: Pictures, moment: Moment) -> dict[str, Any]:
    return {
        "ss_session_id": moment.session_id,
        "ss_training_started_at": moment.started_at,
        "ss_training_finished_at": time.time(),
        "ss_output_name": run.saving.output_name,
        "ss_training_comment": run.metadata.training_comment,
        "ss_epoch": moment.epoch,
        "ss_steps": moment.step,
        "ss_num_epochs": plan.epochs,
        "ss_max_train_steps": plan.steps,
        "ss_num_batches_per_epoch": plan.batches_per_epoch,
        "ss_num_train_images": sum(plan.bucket_counts().values()),
        "ss_num_validation_images": len(pictures.held_out),
        **base_facts(run),
    }


def _setting_facts(run: RunConfig) -> dict[str, Any]:
    schedule, dataset = run.schedule, run.dataset.datasets[0]
    facts = {
        "ss_seed": run.batch.seed,
        "ss_gradient_checkpointing": run.precision.gradient_checkpointing,
        "ss_gradient_accumulation_steps": run.batch.gradient_accumulation_steps,
        "ss_learning_rate": run.optimizer.learning_rate,
        "ss_unet_lr": run.optimizer.unet_lr,
        "ss_lr_scheduler": schedule.lr_scheduler,
        "ss_lr_warmup_steps": schedule.lr_warmup_steps,
        "ss_optimizer": optimizer_name(run),
        "ss_max_grad_norm": run.optimizer.max_grad_norm,
        "ss_scale_weight_norms": run.optimizer.scale_weight_norms,
        "ss_fp8_base": run.precision.fp8_base,
        "ss_fp8_base_unet": False,
        "ss_clip_skip": run.text.clip_skip,
        "ss_max_token_length": run.text.max_token_length,
        "ss_mixed_precision": run.precision.mixed_precision,
        "ss_cache_latents": run.precision.cache_latents,
        "ss_validation_seed": dataset.validation_seed,
        "ss_validation_split": dataset.validation_split,
        "ss_max_validation_steps": run.validation.max_validation_steps,
        "ss_validate_every_n_epochs": run.validation.validate_every_n_epochs,
        "ss_validate_every_n_steps": run.validation.validate_every_n_steps,
    }
    # sd-scripts names these as it does its arguments, with two exceptions.
    facts |= {f"ss_{key}": value for key, value in run.loss.model_dump().items()}
    facts["ss_debiased_estimation"] = facts.pop("ss_debiased_estimation_loss")
    return facts | _network_facts(run)


def _network_facts(run: RunConfig) -> dict[str, Any]:
    network, rates = run.network, run.network.text_encoder_lr
    facts: dict[str, Any] = {
        "ss_network_module": network.network_module,
        "ss_network_dim": network.network_dim,
        "ss_network_alpha": network.network_alpha,
        "ss_network_dropout": network.network_dropout,
        "ss_text_encoder_lr": rates[0] if rates and len(rates) == 1 else list(rates) if rates else None,
    }
    # sd-scripts hands network_args over as text, and writes them so.
    arguments = {
        placed.setting.key: str(placed.value)
        for placed in placed_values(run)
        if placed.setting.place == "network_args" and placed.value not in {None, placed.setting.default}
    }
    if network.conv_dim and network.network_module != LYCORIS:
        arguments.setdefault("conv_alpha", "1.0")
    if arguments:
        facts["ss_network_args"] = json.dumps(arguments)
    return facts


def _dataset_facts(run: RunConfig, plan: Plan, pictures: Pictures) -> dict[str, Any]:
    datasets: list[dict[str, Any]] = []
    folders: dict[str, dict[str, int]] = {}
    frequencies: dict[str, dict[str, int]] = {}
    for number, dataset in enumerate(run.dataset.datasets):
        mine = [picture for picture in pictures.training if picture.dataset == number]
        subsets: list[dict[str, Any]] = []
        tags: dict[str, dict[str, int]] = {}
        for subset in dataset.subsets:
            used = [picture for picture in mine if picture.subset is subset]
            name = subset.image_dir.name
            subsets.append(_subset(subset, len(used)))
            folders[_free(name, folders)] = {"n_repeats": subset.num_repeats, "img_count": len(used)}
            tags[name] = _tag_counts(used, tags.get(name, {}))
        datasets.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": dataset.batch_size,
                "num_train_images": sum(picture.subset.num_repeats for picture in mine),
                "num_reg_images": 0,
                "resolution": list(dataset.resolution),
                "enable_bucket": dataset.enable_bucket,
                "min_bucket_reso": dataset.min_bucket_reso,
                "max_bucket_reso": dataset.max_bucket_reso,
                "tag_frequency": tags,
                "bucket_info": _bucket_info(plan, mine, number) if dataset.enable_bucket else None,
                "resize_interpolation": None,
                "subsets": subsets,
            }
        )
        frequencies.update({name: counts for name, counts in tags.items() if name not in frequencies})
    return {
        "ss_datasets": json.dumps(datasets),
        "ss_dataset_dirs": json.dumps(folders),
        "ss_tag_frequency": json.dumps(frequencies),
    }


def _subset(subset: Any, count: int) -> dict[str, Any]:
    return {
        "img_count": count,
        "num_repeats": subset.num_repeats,
        "color_aug": False,
        "flip_aug": False,
        "random_crop": False,
        "shuffle_caption": subset.shuffle_caption,
        "keep_tokens": subset.keep_tokens,
        "keep_tokens_separator": "",
        "secondary_separator": None,
        "enable_wildcard": False,
        "caption_prefix": None,
        "caption_suffix": None,
        "resize_interpolation": None,
        "image_dir": subset.image_dir.name,
        "class_tokens": subset.class_tokens,
        "is_reg": False,
    }


def _free(name: str, taken: Mapping[str, Any]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name} ({count})"
    return free


def _tag_counts(pictures: Sequence[Picture], before: Mapping[str, int]) -> dict[str, int]:
    tags = (tag.strip().lower() for picture in pictures for tag in picture.caption.split(","))
    return dict(Counter(before) + Counter(tag for tag in tags if tag))


def _bucket_info(plan: Plan, pictures: Sequence[Picture], dataset: int) -> dict[str, Any]:
    counts = [(size, count) for (number, size), count in plan.bucket_counts().items() if number == dataset]
    errors = [
        abs(
            picture.placement.bucket.width / picture.placement.bucket.height
            - picture.entry.width / picture.entry.height
        )
        for picture in pictures
    ]
    return {
        "buckets": {
            str(index): {"resolution": list(size), "count": n} for index, (size, n) in enumerate(counts)
        },
        "mean_img_ar_error": sum(errors) / max(1, len(errors)),
    }


def _model_spec(run: RunConfig) -> dict[str, str]:
    """The Stability AI model metadata standard; unlike `ss_`, what is unset is left out."""
    width, height = run.dataset.datasets[0].resolution
    notes = run.metadata
    spec = {
        "sai_model_spec": "1.0.1",
        **base_spec(run),
        "implementation": "diffusers",
        "implementation_version": f"lora-easy-trainer/{VERSION}",
        "title": notes.metadata_title or run.saving.output_name,
        "resolution": f"{width}x{height}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "author": notes.metadata_author,
        "trigger_phrase": notes.metadata_trigger_phrase,
    }
    return {f"modelspec.{name}": value for name, value in spec.items() if value}
