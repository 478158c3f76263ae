"""Each conflict that sd-scripts has: one case a row, with the change that ends it."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import textstat

from lora_core.planning import check
from lora_core.planning.images import RunImages
from lora_core.settings import (
    SD_SCRIPTS,
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    loads_run,
    setting,
    with_values,
)
from lora_core.settings import _owners as owners
from lora_core.settings._description import EVERY_FAMILY
from lora_core.settings.conflicts import CONFLICTS, Conflict, Seen, family_in, read_over, sd_scripts_problems
from lora_core.settings.conflicts.families import FILES
from lora_core.settings.conflicts.network import NETWORKS_OF

_FLOW = {"mixed_precision": "bf16"}
FLUX_LIKE = {**_FLOW, "model_prediction_type": "raw"}
NEEDS: dict[str, dict[str, Any]] = {
    "sd15": {},
    "sd2": {"v2": True},
    "sdxl": {"resolution": (1024, 1024)},
    "sd3": {**_FLOW, "network_module": owners.SD3},
    "flux1": {**FLUX_LIKE, "guidance_scale": 1.0, "network_module": owners.FLUX},
    "chroma": {
        **FLUX_LIKE,
        "guidance_scale": 0.0,
        "network_module": owners.FLUX,
        "model_type": "chroma",
        "apply_t5_attn_mask": True,
    },
    "lumina": {**_FLOW, "network_module": owners.LUMINA, "system_prompt": "Draw well."},
    "hunyuan-image": {**_FLOW, "network_module": owners.HUNYUAN},
    "anima": {**_FLOW, "network_module": owners.ANIMA},
}


def a_run(family: str, **values: Any) -> RunConfig:
    """A run of this family that sd-scripts has nothing against."""
    folders = tuple(SubsetSettings(image_dir=Path(f"/images/{name}")) for name in ("one", "two"))
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/no/base.safetensors")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=folders),)),
    )
    files = {key: Path(f"/models/{key}.safetensors") for key in FILES if family in FILES[key]}
    return with_values(run, {**NEEDS[family], **files, **values})


PRODIGY = {"optimizer_type": "Prodigy", "learning_rate": 1.0}
BOTH = {"network_train_unet_only": False}
ONCE = {"cache_text_encoder_outputs": True}
REX = {"lr_scheduler_type": owners.REX_AND_CAWR[0]}
LAST = {"network_train_text_encoder_only": True}
CONTROL = "conditioning_data_dir"

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"no {key}": (FILES[key][-1], {key: None}) for key in FILES},
    "Chroma without its mask": ("chroma", {"apply_t5_attn_mask": False}),
    "SDXL as SD 2": ("sdxl", {"v2": True}),
    "SD 2 without its switch": ("sd2", {"v2": False}),
    "SD 1 as SD 2": ("sd15", {"v2": True}),
    "FLUX at another guidance": ("flux1", {"guidance_scale": None}),
    "Chroma at another guidance": ("chroma", {"guidance_scale": None}),
    "FLUX with scaled guesses": ("flux1", {"model_prediction_type": None}),
    "levels of Lumina in another family": ("flux1", {"timestep_sampling": "nextdit_shift"}),
    "Lumina without its first sentence": ("lumina", {"system_prompt": None}),
    "a flow in full precision": ("anima", {"mixed_precision": "no"}),
    "AdEMAMix by its short name": ("sdxl", {"optimizer_type": "PagedAdEMAMix8bit"}),
    "an optimizer that does not exist": ("sdxl", {"optimizer_type": "nadam"}),
    "another number of betas": ("sdxl", {"betas": (0.9, 0.99, 0.999)}),
    "two rates for an optimizer that takes one": ("sdxl", {**PRODIGY, **BOTH, "text_encoder_lr": (0.5,)}),
    "rates of parts for an optimizer that takes one": ("sdxl", {**PRODIGY, "loraplus_lr_ratio": 4.0}),
    "all rates at 0": ("sdxl", {"learning_rate": 0.0}),
    "a rate below 0": ("sdxl", {**BOTH, "text_encoder_lr": (-1.0,)}),
    "fixed Adafactor with a limit of the step": (
        "sdxl",
        {"optimizer_type": "Adafactor", "relative_step": False},
    ),
    "D-Adaptation's package": ("sdxl", {"optimizer_type": "DAdaptAdam", "learning_rate": 1.0}),
    "a sum of steps for Adafactor's fused pass": (
        "sdxl",
        {
            "other": {"fused_backward_pass": True},
            "optimizer_type": "Adafactor",
            "gradient_accumulation_steps": 2,
        },
    ),
    "a fused pass without Adafactor": ("sdxl", {"other": {"fused_backward_pass": True}}),
    "constant with a warm-up": ("sdxl", {"lr_scheduler": "constant", "lr_warmup_steps": 5}),
    "a named schedule with a warm-up": (
        "sdxl",
        {"lr_scheduler_type": "ExponentialLR", "gamma": 0.9, "lr_warmup_steps": 5},
    ),
    "Adafactor's own rate with a warm-up": ("sdxl", {"optimizer_type": "Adafactor", "lr_warmup_steps": 5}),
    "the schedule adafactor without Adafactor's own rate": ("sdxl", {"lr_scheduler": "adafactor"}),
    "cosine_with_min_lr without a lowest rate": ("sdxl", {"lr_scheduler": "cosine_with_min_lr"}),
    "piecewise_constant without its pieces": ("sdxl", {"lr_scheduler": "piecewise_constant"}),
    "a schedule that follows a test loss": ("sdxl", {"lr_scheduler_type": "ReduceLROnPlateau"}),
    "REX without gamma": ("sdxl", {**REX, "first_cycle_max_steps": 100}),
    "REX without the length of a round": ("sdxl", {**REX, "gamma": 0.9}),
    "a warm-up of more than the run": ("sdxl", {"lr_warmup_steps": 10.0}),
    "a fall of more than the run": ("sdxl", {"lr_decay_steps": 10.0, "lr_scheduler": "warmup_stable_decay"}),
    "a polynomial fall above another rate": (
        "sdxl",
        {"lr_scheduler": "polynomial", "unet_lr": 1e-3, "learning_rate": 1e-5},
    ),
    "a noise by brightness without an offset": ("sdxl", {"adaptive_noise_scale": 0.1}),
    "weights for v without v": ("sdxl", {"scale_v_pred_loss_like_noise_pred": True}),
    "a loss like v beside v": ("sdxl", {"v_pred_like_loss": 0.5, "v_parameterization": True}),
    "zero terminal SNR without v": ("sdxl", {"zero_terminal_snr": True}),
    "no noise levels left": ("sd3", {"min_timestep": 500, "max_timestep": 400}),
    "Huber by SNR on a flow": ("flux1", {"loss_type": "huber"}),
    "a network of another family": ("flux1", {"network_module": owners.PLAIN}),
    "a network of another family beside a text part": ("sdxl", {"network_module": owners.SD3, **BOTH}),
    "LyCORIS on Anima": ("anima", {"network_module": owners.LYCORIS}),
    "both parts left out": ("sdxl", LAST),
    "only the text part of HunyuanImage": ("hunyuan-image", {**LAST, **BOTH}),
    "a text part of HunyuanImage": ("hunyuan-image", BOTH),
    "only the text part of Chroma": ("chroma", {**LAST, **BOTH}),
    "T5 beside the image part alone": ("flux1", {"train_t5xxl": True}),
    "a rate for a text part that is not trained": ("sdxl", {"text_encoder_lr": (1e-5,)}),
    "a shape from nowhere": ("sdxl", {"dim_from_weights": True}),
    "more strengths than LoRAs": ("sdxl", {"base_weights_multiplier": (1.0,)}),
    "DoRA without LyCORIS": ("sdxl", {"dora_wd": True}),
    "DyLoRA with two ranks": ("sdxl", {"network_module": owners.DYLORA, "conv_dim": 4}),
    "DyLoRA in parts that do not fit": ("sdxl", {"network_module": owners.DYLORA, "unit": 3}),
    "OFT on FLUX in parts that do not fit": (
        "flux1",
        {"network_module": owners.OFT_FLUX, "network_dim": 7},
    ),
    "block_dims for another number of blocks": ("sdxl", {"block_dims": ",".join(["4"] * 25)}),
    "block_alphas for another number of blocks": (
        "sdxl",
        {"block_dims": ",".join(["4"] * 23), "block_alphas": "4,4"},
    ),
    "conv_block_dims for another number of blocks": (
        "sd15",
        {"block_dims": ",".join(["4"] * 25), "conv_block_dims": "4,4"},
    ),
    "conv_block_alphas for another number of blocks": (
        "sd15",
        {
            "block_dims": ",".join(["4"] * 25),
            "conv_block_dims": ",".join(["4"] * 25),
            "conv_block_alphas": "x",
        },
    ),
    **{
        f"{key} without ranks of blocks": ("sdxl", {key: "4,4"})
        for key in ("block_alphas", "conv_block_dims", "conv_block_alphas")
    },
    **{
        f"{key} that is no curve": ("sdxl", {key: "wave"})
        for key in ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
    },
    "in_dims of another length": ("flux1", {"in_dims": "[1,2,3]"}),
    "emb_dims of another length": ("sd3", {"emb_dims": "1,2,3,4,5"}),
    "embedder_dims of another length": ("lumina", {"embedder_dims": "1,x,3"}),
    "train_double_block_indices names a block that is not there": (
        "flux1",
        {"train_double_block_indices": "0-3,19"},
    ),
    "train_single_block_indices names a block that is not there": (
        "chroma",
        {"train_single_block_indices": "8-4"},
    ),
    "train_blocks of another family": ("flux1", {"train_blocks": "refiners"}),
    **{
        f"{key} beside captions that are read once": ("flux1", {**ONCE, key: value})
        for key, value in {
            "shuffle_caption": True,
            "caption_tag_dropout_rate": 0.1,
            "token_warmup_step": 5.0,
            "caption_dropout_rate": 0.1,
        }.items()
    },
    **{
        f"{key} beside captions that are read once in Lumina": ("lumina", {**ONCE, key: value})
        for key, value in {
            "shuffle_caption": True,
            "caption_tag_dropout_rate": 0.1,
            "token_warmup_step": 5.0,
            "caption_dropout_rate": 0.1,
        }.items()
    },
    "choices in captions that are read once": ("sdxl", {**ONCE, "enable_wildcard": True}),
    "a text part that is trained and read once": (
        "sdxl",
        {"cache_text_encoder_outputs_to_disk": True, **BOTH},
    ),
    "T5 that is trained and read once": ("flux1", {**ONCE, **BOTH, "train_t5xxl": True}),
    "weights in captions that the family does not read": ("anima", {"weighted_captions": True}),
    "clip skip on SD 2": ("sd2", {"clip_skip": 2}),
    "color_aug beside kept images": ("sdxl", {"color_aug": True}),
    "random_crop beside kept images": (
        "sdxl",
        {"random_crop": True, "cache_latents": False, "cache_latents_to_disk": True},
    ),
    "buckets of another step": ("flux1", {"bucket_reso_steps": 32}),
    "masks that are turned off": ("sdxl", {CONTROL: Path("/masks")}),
    "folders with and without masks in one dataset": ("sdxl", {"masked_loss": True, "mixed": True}),
    "samples without a prompt": ("sdxl", {"sample_every_n_epochs": 1}),
    "a name like that of a save": ("sdxl", {"output_name": "zog-000004"}),
    "a first step behind the end": ("sdxl", {"initial_step": 1600}),
    "a first epoch behind the end": ("sdxl", {"max_train_epochs": 3, "initial_epoch": 4}),
    "full_fp16 beside another precision": ("sdxl", {"full_fp16": True}),
    "full_bf16 beside another precision": ("sdxl", {"full_bf16": True}),
    "fp8_base in full precision": ("sdxl", {"fp8_base": True}),
    "fp8_base_unet in full precision": ("sdxl", {"fp8_base_unet": True}),
    "the VAE of SDXL in fp16": ("sdxl", {"mixed_precision": "fp16", "no_half_vae": False}),
    "HunyuanImage in fp16": ("hunyuan-image", {"mixed_precision": "fp16"}),
    "swapped blocks beside offloaded checkpoints": (
        "flux1",
        {"blocks_to_swap": 16, "gradient_checkpointing": True, "cpu_offload_checkpointing": True},
    ),
    "two ways of offloading checkpoints": (
        "anima",
        {
            "gradient_checkpointing": True,
            "unsloth_offload_checkpointing": True,
            "cpu_offload_checkpointing": True,
        },
    ),
    "swapped blocks beside unsloth's checkpoints": (
        "anima",
        {"unsloth_offload_checkpointing": True, "blocks_to_swap": 8},
    ),
    "more blocks than can be swapped in flux1": ("flux1", {"blocks_to_swap": 36}),
    "more blocks than can be swapped in hunyuan-image": ("hunyuan-image", {"blocks_to_swap": 38}),
    "more blocks than can be swapped in anima": ("anima", {"blocks_to_swap": 27}),
    "more blocks than can be swapped in lumina": ("lumina", {"blocks_to_swap": 25}),
    "more blocks than can be swapped in sd3": ("sd3", {"blocks_to_swap": 37}),
    "xformers without parts": ("anima", {"attn_mode": "xformers"}),
    "an attention that only draws": ("hunyuan-image", {"attn_mode": "sageattn"}),
    "Sage attention in Lumina": ("lumina", {"use_sage_attn": True}),
}
ROWS: Mapping[str, Conflict] = {row.name: row for row in CONFLICTS}
NO_BUTTON = {
    *(f"no {key}" for key in FILES),
    "D-Adaptation's package",
    "REX without the length of a round",
    "Lumina without its first sentence",
    "folders with and without masks in one dataset",
}


def run_of(case: str) -> tuple[RunConfig, str]:
    """The run of a case, and its family."""
    family, values = CASES[case]
    values = dict(values)
    other, mixed = values.pop("other", {}), values.pop("mixed", False)
    run = a_run(family, **values).model_copy(update={"other": other})
    if mixed:
        (dataset,) = run.dataset.datasets
        first = dataset.subsets[0].model_copy(update={CONTROL: Path("/masks")})
        changed = dataset.model_copy(update={"subsets": (first, dataset.subsets[1])})
        run = run.model_copy(update={"dataset": DatasetFile(datasets=(changed,))})
    return run, family


def held(run: RunConfig, family: str) -> set[str]:
    """The rows that hold in a run."""
    return {row.name for row in CONFLICTS if row.holds(Seen(run, family))}


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_plain_run_of_each_family_has_no_conflict(family: str) -> None:
    run = a_run(family)
    assert held(run, family) == set()
    assert sd_scripts_problems(run, family) == []
    assert [p for p in read_over(run, family) if p.setting not in {"sdpa", "vae"}] == []


def test_every_row_has_one_case_and_a_name_of_its_own() -> None:
    assert len(ROWS) == len(CONFLICTS)
    assert set(ROWS) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_conflict_is_told_and_its_change_ends_it(name: str) -> None:
    row = ROWS[name]
    run, family = run_of(name)
    before = held(run, family)
    assert name in before
    problem = row.problem(Seen(run, family))
    assert problem in check(run, SD_SCRIPTS, images=RunImages(()), family=family)
    assert setting(row.key).key == problem.setting
    assert bool(problem.mend) == (name not in NO_BUTTON) == bool(problem.mend_label)
    if problem.mend:
        after = held(with_values(run, problem.mend), family)
        errors = {each for each in after if ROWS[each].severity == "error"}
        assert name not in after
        assert errors <= before


@pytest.mark.parametrize("name", CASES)
def test_a_conflict_says_nothing_of_families_that_it_is_not_about(name: str) -> None:
    run, _ = run_of(name)
    for family in set(EVERY_FAMILY) - set(ROWS[name].families):
        assert name not in held(run, family)


@pytest.mark.parametrize("row", CONFLICTS, ids=lambda row: row.name)
def test_a_conflict_is_told_in_plain_sentences(row: Conflict) -> None:
    for text in (row.what, row.fix):
        assert text.endswith(".")
        words = " ".join("word" if "_" in word else word for word in text.split())
        assert textstat.flesch_kincaid_grade(words) <= 9.5, text
    if row.severity == "error":
        assert row.source[1], "an error says where sd-scripts refuses it"


def test_each_family_has_a_network_of_its_own_that_is_described() -> None:
    assert set(NETWORKS_OF) == set(EVERY_FAMILY)
    for family, module in itertools.product(EVERY_FAMILY, owners.NETWORKS):
        wrong = "a network of another family" in held(a_run(family, network_module=module), family)
        assert wrong == (module != owners.LYCORIS and module not in NETWORKS_OF[family])


@pytest.mark.parametrize("family", [f for f in EVERY_FAMILY if f not in {"sd15", "sdxl", "sd3"}])
def test_the_settings_tell_the_family_where_they_can(family: str) -> None:
    assert family_in(a_run(family)) == family


def test_the_settings_of_a_common_run_fit_several_families() -> None:
    assert family_in(a_run("sd15")) is family_in(a_run("sdxl")) is None


def test_a_batch_above_the_pictures_stops_only_the_built_in_engine() -> None:
    run = a_run("sdxl", batch_size=7)
    for problem in check(run, SD_SCRIPTS, images=RunImages(()), family="sdxl"):
        assert (problem.setting, problem.severity) != ("batch_size", "error")


@pytest.mark.parametrize(
    ("family", "values", "key"),
    [
        ("flux1", {"timestep_sampling": "flux_shift", "discrete_flow_shift": 3.0}, "discrete_flow_shift"),
        ("anima", {"discrete_flow_shift": 3.0}, "discrete_flow_shift"),
        ("flux1", {"sigmoid_scale": 2.0}, "sigmoid_scale"),
        (
            "lumina",
            {"weighting_scheme": "logit_normal", "logit_mean": 1.0},
            "logit_mean",
        ),
        ("flux1", {"min_snr_gamma": 5.0}, "min_snr_gamma"),
        ("flux1", {"max_token_length": 225}, "max_token_length"),
        ("sd3", {"noise_offset": 0.1}, "noise_offset"),
        ("anima", {"fp8_base": True}, "fp8_base"),
        ("sd15", {"cache_text_encoder_outputs": True}, "cache_text_encoder_outputs"),
        ("sdxl", {"face_crop_aug_range": (1.0, 2.0)}, "face_crop_aug_range"),
        ("sdxl", {"save_n_epoch_ratio": 2, "save_every_n_epochs": 1}, "save_every_n_epochs"),
        ("sdxl", {"async_upload": True}, "async_upload"),
        ("sdxl", {"skip_cache_check": True}, "skip_cache_check"),
    ],
)
def test_what_sd_scripts_reads_over_is_told(family: str, values: dict[str, Any], key: str) -> None:
    run = a_run(family, **values)
    problems = check(run, SD_SCRIPTS, images=RunImages(()), family=family)
    found = next(p for p in problems if p.setting == key)
    assert (found.severity, bool(found.mend)) == ("advice", True)
    assert key not in {p.setting for p in read_over(with_values(run, found.mend), family)}


@pytest.mark.parametrize(
    "text", ["9" * 5000, "0-" + "9" * 5000, "٣-٤", "1e309", "nan", "-1", "1-2-3", ",", "0x3", "’"]
)
def test_odd_texts_get_one_problem_and_nothing_is_executed(text: str) -> None:
    keys = ("train_double_block_indices", "in_dims")
    for key in keys:
        found = [p for p in sd_scripts_problems(a_run("flux1", **{key: text}), "flux1") if p.setting == key]
        assert len(found) == 1
    for key in ("block_dims", "up_lr_weight"):
        found = [p for p in sd_scripts_problems(a_run("sdxl", **{key: text}), "sdxl") if p.setting == key]
        assert len(found) <= 1


@pytest.mark.parametrize(
    ("config", "setting", "severity", "what"),
    [
        ('network_args = ["foo=1"]', "network_args: foo", "advice", "networks.lora knows no foo"),
        ('network_args = ["dora_wd=True"]', "dora_wd", "advice", "It does nothing here."),
        ('network_args = ["algo=loha"]', "algo", "advice", "It belongs to lycoris.kohya."),
        (
            'optimizer_type = "pytorch_optimizer.CAME"\noptimizer_args = ["eps=1e-6"]',
            "eps",
            "advice",
            "no such",
        ),
        ('optimizer_type = "Lion"\noptimizer_args = ["d_coef=2"]', "d_coef", "error", "stops at it"),
        ('optimizer_args = ["foo=__import__(1)"]', "optimizer_args", "error", "is no Python value"),
        ('lr_scheduler_args = ["foo=1+x"]', "lr_scheduler_args", "error", "is no Python value"),
        (f'optimizer_args = ["foo={"(" * 9000}"]', "optimizer_args", "error", "is no Python value"),
    ],
)
def test_an_entry_of_a_list_that_nothing_reads_or_that_stops_is_told(
    config: str, setting: str, severity: str, what: str
) -> None:
    head = 'pretrained_model_name_or_path = "/m"\nmax_train_steps = 10\nmixed_precision = "bf16"\n'
    run = loads_run(f"{head}{config}\n", '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/d"\n')
    found = [problem for problem in sd_scripts_problems(run, "sdxl") if problem.setting == setting]
    assert [problem.severity for problem in found] == [severity]
    assert what in found[0].what
    assert found[0].fix


def test_entries_that_a_network_or_package_of_others_may_know_are_left_alone() -> None:
    head = 'pretrained_model_name_or_path = "/m"\nmax_train_steps = 10\nmixed_precision = "bf16"\n'
    own = (
        'network_module = "my.network"\nnetwork_args = ["foo=1"]\n'
        'optimizer_type = "my.Optimizer"\noptimizer_args = ["eps=1e-6", "bar=[1, 2]"]\n'
    )
    run = loads_run(head + own, '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/d"\n')
    assert sd_scripts_problems(run, "sdxl") == []


def test_what_acts_in_one_folder_of_several_is_not_called_idle() -> None:
    config = 'pretrained_model_name_or_path = "/base"\nprior_loss_weight = 0.5\n'
    first = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/a"\n'
    second = (
        '[[datasets.subsets]]\nimage_dir = "/b"\nis_reg = true\nshuffle_caption = true\nkeep_tokens = 1\n'
    )
    told = {p.setting for p in read_over(loads_run(config, first + second), "sdxl")}
    assert not told & {"prior_loss_weight", "keep_tokens", "is_reg"}
    alone = {p.setting for p in read_over(loads_run(config, first + "keep_tokens = 1\n"), "sdxl")}
    assert {"prior_loss_weight", "keep_tokens"} <= alone
