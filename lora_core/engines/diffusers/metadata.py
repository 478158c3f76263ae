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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.metadata_base import base_facts, base_spec
from lora_core.engines.diffusers.metadata_dataset import dataset_facts
from lora_core.engines.diffusers.optimizers import optimizer_name
from lora_core.engines.diffusers.pictures import Pictures
from lora_core.settings import BUILT_IN, RunConfig, arguments_of, setting
from lora_core.settings.concern_network import LYCORIS

VERSION: Final = "0.1.0"
_OFF: Final[Mapping[str, Any]] = {
    "ss_full_fp16": False, "ss_fp8_base_unet": False, "ss_v2": False, "ss_lowram": False,
    "ss_face_crop_aug_range": None,
    "ss_sd_scripts_commit_hash": "(unknown)",
}  # fmt: skip
"""What sd-scripts has and this trainer does not, as sd-scripts writes it when it is off."""
_NOT_NOTED: Final = {"min_timestep", "max_timestep", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss"}


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
        **dataset_facts(run, plan, pictures),
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
        "ss_cache_latents": run.precision.cache_latents or run.precision.cache_latents_to_disk,
        "ss_validation_seed": dataset.validation_seed,
        "ss_validation_split": dataset.validation_split,
        "ss_max_validation_steps": run.validation.max_validation_steps,
        "ss_validate_every_n_epochs": run.validation.validate_every_n_epochs,
        "ss_validate_every_n_steps": run.validation.validate_every_n_steps,
    }
    # sd-scripts names these as it does its arguments, with one exception, and leaves some out.
    facts |= {
        f"ss_{key}": value
        for key, value in run.loss.model_dump(exclude=_NOT_NOTED).items()
        if BUILT_IN in setting(key).engines  # what is of other families says nothing about this LoRA
    }
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
    arguments = {key: str(value) for key, value in arguments_of(run, "network_args").items()}
    if network.conv_dim and network.network_module != LYCORIS:
        arguments.setdefault("conv_alpha", "1.0")
    if arguments:
        facts["ss_network_args"] = json.dumps(arguments)
    return facts


def _model_spec(run: RunConfig) -> dict[str, str]:
    """The Stability AI model metadata standard; unlike `ss_`, what is unset is left out."""
    width, height = run.dataset.datasets[0].resolution
    notes, lowest, highest = run.metadata, run.loss.min_timestep, run.loss.max_timestep
    limited = lowest is not None or highest is not None
    spec = {
        "sai_model_spec": "1.0.1",
        **base_spec(run),
        "implementation_version": f"lora-easy-trainer/{VERSION}",
        "title": notes.metadata_title or run.saving.output_name,
        "resolution": f"{width}x{height}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "timestep_range": f"{lowest or 0},{1000 if highest is None else highest}" if limited else None,
        "author": notes.metadata_author,
        "trigger_phrase": notes.metadata_trigger_phrase,
    }
    return {f"modelspec.{name}": value for name, value in spec.items() if value}
