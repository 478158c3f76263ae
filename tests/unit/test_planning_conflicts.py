"""Every conflict between settings: one case each, with its severity, and with a button that ends it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_bases import sd1_folder, write
from test_planning import a_run, pictures

from lora_core import machine
from lora_core.errors import Problem, SettingsError
from lora_core.planning import check
from lora_core.settings import (
    RunConfig,
    dump_config,
    dump_dataset,
    loads_run,
    parsed,
    setting,
    with_values,
)
from lora_core.workspace import Workspace, write_json

LYCORIS = {"network_module": "lycoris.kohya"}
TEXT = {"network_train_unet_only": False}

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "constant and warm-up": ({"lr_scheduler": "constant", "lr_warmup_steps": 5}, "lr_warmup_steps"),
    "a named schedule and warm-up": (
        {"lr_scheduler_type": "CosineAnnealingLR", "lr_warmup_steps": 5},
        "lr_warmup_steps",
    ),
    "Adafactor's own rate and warm-up": (
        {"optimizer_type": "Adafactor", "lr_warmup_steps": 5},
        "lr_warmup_steps",
    ),
    "adafactor without Adafactor": ({"lr_scheduler": "adafactor"}, "lr_scheduler"),
    "no lowest rate": ({"lr_scheduler": "cosine_with_min_lr"}, "lr_scheduler_min_lr_ratio"),
    "no pieces": ({"lr_scheduler": "piecewise_constant"}, "lr_scheduler"),
    "a schedule that follows the test": ({"lr_scheduler_type": "ReduceLROnPlateau"}, "lr_scheduler_type"),
    "a schedule that is not installed": ({"lr_scheduler_type": "not_there.Rex"}, "lr_scheduler_type"),
    "REX without its length": (
        {"lr_scheduler_type": "LoraEasyCustomOptimizer.RexAnnealingWarmRestarts.RexAnnealingWarmRestarts"},
        "lr_scheduler_type",
    ),
    "10.0 steps of warm-up": ({"lr_warmup_steps": 10.0}, "lr_warmup_steps"),
    "10.0 steps of decay": ({"lr_decay_steps": 10.0}, "lr_decay_steps"),
    "an unknown optimizer": ({"optimizer_type": "AdamWay"}, "optimizer_type"),
    "an optimizer that is not installed": ({"optimizer_type": "not_there.CAME"}, "optimizer_type"),
    "Prodigy with two rates": (
        {"optimizer_type": "Prodigy", "learning_rate": 1.0, **TEXT, "text_encoder_lr": (0.5,)},
        "text_encoder_lr",
    ),
    "Prodigy with a rate for the image part": (
        {"optimizer_type": "Prodigy", "learning_rate": 1.0, **TEXT, "unet_lr": 0.5},
        "unet_lr",
    ),
    "Prodigy with rates of blocks": (
        {"optimizer_type": "Prodigy", "learning_rate": 1.0, "mid_lr_weight": "0.5"},
        "mid_lr_weight",
    ),
    "adaptive noise without an offset": ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale"),
    "no noise level left": ({"min_timestep": 500, "max_timestep": 400}, "min_timestep"),
    "v weights without v": (
        {"scale_v_pred_loss_like_noise_pred": True},
        "scale_v_pred_loss_like_noise_pred",
    ),
    "v loss with v": ({"v_pred_like_loss": 0.5, "v_parameterization": True}, "v_pred_like_loss"),
    "8 bits without 16": ({"fp8_base": True}, "fp8_base"),
    "a cache and random cuts": ({"random_crop": True}, "random_crop"),
    "a cache and colors": ({"color_aug": True}, "color_aug"),
    "a cache on the disk and colors": (
        {"color_aug": True, "cache_latents": False, "cache_latents_to_disk": True},
        "color_aug",
    ),
    "read once and shuffled": (
        {"cache_text_encoder_outputs": True, "shuffle_caption": True},
        "shuffle_caption",
    ),
    "read once and tags left out": (
        {"cache_text_encoder_outputs": True, "caption_tag_dropout_rate": 0.1},
        "caption_tag_dropout_rate",
    ),
    "read once and tags that grow": (
        {"cache_text_encoder_outputs": True, "token_warmup_step": 5.0},
        "token_warmup_step",
    ),
    "read once and choices": (
        {"cache_text_encoder_outputs": True, "enable_wildcard": True},
        "enable_wildcard",
    ),
    "read once and trained": ({"cache_text_encoder_outputs": True, **TEXT}, "cache_text_encoder_outputs"),
    "both parts left out": ({"network_train_text_encoder_only": True}, "network_train_text_encoder_only"),
    "too many rates for the text": ({**TEXT, "text_encoder_lr": (1e-5, 1e-5)}, "text_encoder_lr"),
    "a rate below 0": ({**TEXT, "text_encoder_lr": (-1.0,)}, "text_encoder_lr"),
    "DoRA without LyCORIS": ({"dora_wd": True}, "dora_wd"),
    "a dropout that LoHa lacks": ({**LYCORIS, "algo": "loha", "network_dropout": 0.1}, "network_dropout"),
    "ranks for too few blocks": ({"block_dims": "4,4"}, "block_dims"),
    "alphas of blocks without ranks": ({"block_alphas": "4,4"}, "block_alphas"),
    "a curve that is none": ({"down_lr_weight": "wave"}, "down_lr_weight"),
    "more strengths than LoRAs": ({"base_weights_multiplier": (1.0,)}, "base_weights_multiplier"),
    "a shape from nowhere": ({"dim_from_weights": True}, "dim_from_weights"),
    "a name that no file can have": ({"output_name": "cat/dog"}, "output_name"),
    "samples without a prompt": ({"sample_every_n_steps": 5}, "sample_prompts"),
    "buckets above the size": ({"min_bucket_reso": 96}, "min_bucket_reso"),
    "buckets below the size": ({"max_bucket_reso": 32}, "max_bucket_reso"),
    "a step that leaves no bucket": (
        {"bucket_reso_steps": 100, "min_bucket_reso": 1, "max_bucket_reso": 64},
        "bucket_reso_steps",
    ),
    "a batch above the pictures": ({"batch_size": 7}, "batch_size"),
    "a state that is not there": ({"resume": Path("/not/there")}, "resume"),
    "an engine's own value": ({"network_module": "networks.oft"}, "network_module"),
    "class images alone": ({"is_reg": True}, "is_reg"),
}
WITHOUT_A_BUTTON = {"a name that ends like a number": ({"output_name": "cat-000001"}, "output_name")}

ADVICE: dict[str, tuple[dict[str, Any], str]] = {
    "LoKr's factor without LoKr": ({**LYCORIS, "factor": 4}, "factor"),
    "blocks with LyCORIS": ({**LYCORIS, "block_dims": "1"}, "block_dims"),
    "Prodigy's strength without Prodigy": ({"d_coef": 2.0}, "d_coef"),
    "schedule-free and a schedule": ({"optimizer_type": "AdamWScheduleFree"}, "lr_scheduler"),
    "Prodigy with AdamW's rate": ({"optimizer_type": "Prodigy"}, "learning_rate"),
    "Prodigy with AdamW's rate for the image part": (
        {"optimizer_type": "Prodigy", "learning_rate": 1.0, "unet_lr": 1e-4},
        "unet_lr",
    ),
    "CAME at AdamW's rate": ({"optimizer_type": "CAME", "learning_rate": 5e-4}, "learning_rate"),
    "no rate at all": ({"learning_rate": 0.0}, "learning_rate"),
    "two weights of noise levels": (
        {"min_snr_gamma": 5.0, "debiased_estimation_loss": True},
        "debiased_estimation_loss",
    ),
    "two kinds of coarse noise": (
        {"noise_offset": 0.05, "multires_noise_iterations": 6},
        "multires_noise_iterations",
    ),
    "a random offset of nothing": ({"noise_offset_random_strength": True}, "noise_offset_random_strength"),
    "a random gamma of nothing": ({"ip_noise_gamma_random_strength": True}, "ip_noise_gamma_random_strength"),
    "a fall without time": ({"lr_scheduler": "warmup_stable_decay"}, "lr_decay_steps"),
    "a fall longer than the run": (
        {"lr_scheduler": "warmup_stable_decay", "max_train_steps": 300, "lr_decay_steps": 400},
        "lr_decay_steps",
    ),
    "LoHa of a high rank": ({**LYCORIS, "algo": "loha", "network_dim": 64}, "network_dim"),
    "v against the model's files": ({"v_parameterization": True}, "v_parameterization"),
    "zero terminal SNR without v": ({"zero_terminal_snr": True}, "zero_terminal_snr"),
    "DoRA and diffusers": ({**LYCORIS, "dora_wd": True}, "dora_wd"),
    "a rate for what is not trained": ({"text_encoder_lr": (1e-5,)}, "text_encoder_lr"),
    "an alpha without a rank": ({"conv_alpha": 1.0}, "conv_alpha"),
    "epochs and steps": ({"max_train_epochs": 2, "max_train_steps": 99}, "max_train_steps"),
    "tests of nothing": ({"validate_every_n_steps": 5}, "validation_split"),
    "few pictures held back": ({"validation_split": 0.5}, "validation_split"),
    "samples by both": (
        {"sample_prompts": ("x",), "sample_every_n_epochs": 1, "sample_every_n_steps": 1},
        "sample_every_n_steps",
    ),
    "prompts that are not drawn": ({"sample_prompts": ("x",)}, "sample_every_n_epochs"),
    "a warm-up as long as the run": ({"max_train_steps": 400, "lr_warmup_steps": 400}, "lr_warmup_steps"),
    "saves behind the end": ({"max_train_epochs": 2, "save_every_n_epochs": 3}, "save_every_n_epochs"),
    "masks without masks": ({"masked_loss": True}, "masked_loss"),
    "a weight without class images": ({"prior_loss_weight": 0.5}, "prior_loss_weight"),
    "a shuffled trigger word": (
        {"shuffle_caption": True, "metadata_trigger_phrase": "zog"},
        "keep_tokens",
    ),
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return sd1_folder(tmp_path / "base")


@pytest.fixture
def run(tmp_path: Path, base: Path) -> RunConfig:
    folder = pictures(tmp_path / "images", {(64, 64): 6})
    return a_run(folder, pretrained_model_name_or_path=base)


def sdxl_folder(folder: Path) -> Path:
    """The files of an SDXL folder."""
    sd1_folder(folder)
    index = {"_class_name": "StableDiffusionXLPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}
    write(folder / "model_index.json", index)
    write(folder / "text_encoder_2" / "config.json", {})
    write(folder / "tokenizer_2" / "tokenizer.json", {})
    save_file({"w": np.ones(8, np.float32)}, folder / "text_encoder_2" / "model.safetensors")
    return folder


def of(run: RunConfig, key: str, workspace: Workspace | None = None) -> list[Problem]:
    return [problem for problem in check(run, "diffusers", workspace) if problem.setting == key]


def mended(run: RunConfig, problem: Problem, workspace: Workspace | None = None) -> None:
    """Applying the mending change ends the problem, and the run has no new error."""
    before = {p.what for p in check(run, "diffusers", workspace) if p.severity == "error"}
    after = check(with_values(run, problem.mend), "diffusers", workspace)
    assert problem not in after
    assert {p.what for p in after if p.severity == "error"} <= before - {problem.what}


def test_the_run_that_the_cases_change_has_no_problem(run: RunConfig) -> None:
    assert check(run, "diffusers") == []


@pytest.mark.parametrize("case", ERRORS)
def test_a_conflict_that_the_engine_refuses_has_a_button_that_ends_it(run: RunConfig, case: str) -> None:
    values, key = ERRORS[case]
    changed = with_values(run, values)
    problem = next(p for p in of(changed, key) if p.severity == "error")
    assert problem.mend_label
    assert problem.fix.endswith(".")
    mended(changed, problem)


@pytest.mark.parametrize("case", ADVICE)
def test_a_conflict_that_only_deserves_advice_stops_nothing_and_has_a_button(
    run: RunConfig, case: str
) -> None:
    values, key = ADVICE[case]
    changed = with_values(run, values)
    problems = check(changed, "diffusers")
    assert [p.what for p in problems if p.severity == "error"] == []
    problem = next(p for p in problems if p.setting == key and p.mend)
    assert problem.mend_label
    mended(changed, problem)


@pytest.mark.parametrize("case", WITHOUT_A_BUTTON)
def test_a_conflict_that_no_value_ends_has_no_button(run: RunConfig, case: str) -> None:
    values, key = WITHOUT_A_BUTTON[case]
    (problem,) = of(with_values(run, values), key)
    assert (dict(problem.mend), problem.mend_label) == ({}, "")


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"clip_skip": 2}, "clip_skip"),
        ({"mixed_precision": "fp16", "no_half_vae": False}, "no_half_vae"),
        ({}, "resolution"),
    ],
)
def test_what_sdxl_does_not_use_or_cannot_bear_is_told(
    tmp_path: Path, run: RunConfig, values: dict[str, Any], key: str
) -> None:
    base = sdxl_folder(tmp_path / "sdxl")
    changed = with_values(run, {"pretrained_model_name_or_path": base, **values})
    (problem,) = of(changed, key)
    assert problem.severity == "advice"
    mended(changed, problem)


def test_an_adafactor_that_finds_its_rate_is_told(run: RunConfig) -> None:
    (problem,) = of(with_values(run, {"optimizer_type": "Adafactor"}), "optimizer_type")
    assert problem.severity == "advice"
    assert "finds its own rate" in problem.what
    fixed = run.model_copy(update={"other": {"optimizer_args": ["relative_step=False"]}})
    assert of(with_values(fixed, {"optimizer_type": "Adafactor"}), "optimizer_type") == []


def test_masks_that_are_named_and_turned_off_have_a_button(run: RunConfig) -> None:
    masks = run.dataset.datasets[0].subsets[0].image_dir
    changed = with_values(run, {"conditioning_data_dir": masks})
    (problem,) = of(changed, "conditioning_data_dir")
    mended(changed, problem)


@pytest.mark.parametrize("rate", [1.0, 0.75])
def test_a_rate_that_prodigy_means_is_no_slip(run: RunConfig, rate: float) -> None:
    changed = with_values(run, {"optimizer_type": "Prodigy", "learning_rate": rate})
    assert of(changed, "learning_rate") == []


def test_a_limit_beside_prodigy_plus_is_told(run: RunConfig) -> None:
    changed = with_values(run, {"optimizer_type": "prodigyplus.ProdigyPlusScheduleFree"})
    (problem,) = of(changed, "max_grad_norm")
    mended(changed, problem)


def test_a_rate_of_0_leaves_a_part_out_and_is_no_second_rate(run: RunConfig) -> None:
    one = {"optimizer_type": "Prodigy", "learning_rate": 1.0, **TEXT, "text_encoder_lr": (0.0,)}
    assert [p for p in check(with_values(run, one), "diffusers") if p.severity == "error"] == []


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"mixed_precision": "fp16"}, "mixed_precision"),
        ({"mixed_precision": "bf16", "fp8_base": True}, "fp8_base"),
        ({"optimizer_type": "bitsandbytes.optim.AdamW8bit"}, "optimizer_type"),
    ],
)
def test_what_needs_a_card_is_refused_where_torch_has_none(
    tmp_path: Path, run: RunConfig, values: dict[str, Any], key: str
) -> None:
    workspace = Workspace.open(tmp_path / "ws")
    changed = with_values(run, values)
    asked = [p for p in of(changed, key, workspace) if "CUDA" in p.what]
    assert asked == [], "nothing is claimed of a machine that was not looked at"
    facts = {"device": "cpu", "device_name": "the processor", "bf16": True}
    record = {"format": 1, "torch_version": machine._installed("torch"), "torch": facts}
    write_json(workspace.root / "machine.json", record)
    problem = next(p for p in of(changed, key, workspace) if "CUDA" in p.what)
    assert problem.severity == "error"
    assert problem not in check(with_values(changed, problem.mend), "diffusers", workspace)


@pytest.mark.parametrize("values", [{"max_train_steps": 10}, {"max_train_epochs": 2}])
def test_a_state_from_behind_the_end_of_the_run_is_refused(
    tmp_path: Path, run: RunConfig, values: dict[str, Any]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "state.json").write_text(json.dumps({"format": 1, "step": 50}))
    changed = with_values(run, {**values, "resume": state})
    (problem,) = (p for p in of(changed, next(iter(values))) if p.severity == "error")
    assert "step 50" in problem.what
    mended(changed, problem)


def test_all_conflicts_of_a_run_are_told_at_once(run: RunConfig) -> None:
    together = (
        "constant and warm-up",
        "adaptive noise without an offset",
        "a cache and colors",
        "DoRA without LyCORIS",
    )
    values: dict[str, Any] = {}
    for case in together:
        values |= ERRORS[case][0]
    told = {p.setting for p in check(with_values(run, values), "diffusers") if p.severity == "error"}
    assert told == {ERRORS[case][1] for case in together}


def test_came_is_warned_of_at_the_rate_that_counts(run: RunConfig) -> None:
    came = {"optimizer_type": "came_pytorch.CAME"}
    for values, key in (
        ({"learning_rate": 5e-4, "unet_lr": 6e-5}, None),
        ({"learning_rate": 6e-5, "unet_lr": 5e-4}, "unet_lr"),
        ({"learning_rate": 5e-4}, "learning_rate"),
    ):
        told = check(with_values(run, {**came, **values}), "diffusers")
        told = [problem for problem in told if "seen to break" in problem.what]
        assert [p.setting for p in told] == ([key] if key else [])


def test_betas_that_no_optimizer_takes_are_refused_by_name(run: RunConfig) -> None:
    # "0,5" is how many people write a half; here it would be the two numbers 0 and 5.
    problem = parsed(setting("betas"), "0,5").problem
    assert problem is not None
    assert "each from 0 to below 1" in problem.what
    text = dump_config(run) + 'optimizer_args = ["betas=0.9,1.5"]\n'
    with pytest.raises(SettingsError) as caught:
        loads_run(text, dump_dataset(run))
    assert [each.setting for each in caught.value.problems] == ["betas"]


def test_a_rate_of_the_text_part_far_from_all_recipes_is_told(run: RunConfig) -> None:
    for rates, told in (((5.0,), True), ((5e-5,), False), ((0.0,), False)):
        changed = with_values(run, {**TEXT, "text_encoder_lr": rates})
        found = [p for p in check(changed, "sd-scripts") if "Published recipes" in p.what]
        assert bool(found) == told
    prodigy = {"optimizer_type": "Prodigy", "learning_rate": 1.0, **TEXT, "text_encoder_lr": (1.0,)}
    assert not [p for p in check(with_values(run, prodigy), "sd-scripts") if p.setting == "text_encoder_lr"]
