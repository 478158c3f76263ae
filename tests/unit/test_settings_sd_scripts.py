"""All that the LoRA scripts of sd-scripts take: described, decided by the app, or said to do nothing.

Covered: the lists of arguments by script, families and starting values of what is described, old switches,
what is written and what is shown of it. Not covered: sd-scripts itself (the test marked for it compares the
lists with its parsers' source).
"""

import ast
import json
import os
from pathlib import Path

import pytest
from test_settings import a_run

from lora_core.settings import (
    BUILT_IN,
    SD_SCRIPTS,
    Setting,
    catalogue,
    checked,
    dump_config,
    dump_dataset,
    idle,
    known,
    loads_run,
    shown_settings,
    unsupported,
    value_in,
    with_values,
)
from lora_core.settings._description import EVERY_FAMILY
from lora_core.settings._owners import LISTS
from lora_core.settings.imports import read_recipe

MODEL = 'pretrained_model_name_or_path = "/models/base"\n'
IMAGES = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/images"\n'
OF_ONE_ENGINE = [s for s in catalogue() if s.engines == (SD_SCRIPTS,)]
DESCRIBED = {s.key: s for s in catalogue() if s.place == "argument"} | {
    s.argument: s for s in catalogue() if s.argument is not None
}
ELSEWHERE = {"DECIDED": set(known.APP_DECIDES), "NOTHING": set(known.DOES_NOTHING), "OLD": set(known.SAID_BY)}
GONE = {"aot_ts_nvfuser", "nvprims_nvfuser", "ofi", "fx2trt", "tensort", "diffusers", "diffusers_safetensors"}
"""Values that no torch of today has, and forms of whole models."""
READ_BY_THE_BUILT_IN = {"cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"}
"""Settings of the built-in engine for SD 1.x that sd-scripts has for the other families alone."""


@pytest.mark.parametrize("script", known.by_script())
def test_every_argument_of_a_script_is_described_decided_or_of_no_use(script: str) -> None:
    for key in known.by_script()[script].keys() - set(LISTS):
        ways = [key in DESCRIBED, *(key in names for names in ELSEWHERE.values())]
        assert ways.count(True) == 1, f"{key} has {ways.count(True)} of the ways"


def test_the_tables_name_arguments_that_exist_and_give_a_reason() -> None:
    names = {key for script in known.by_script().values() for key in script} | set(known.tables()["dataset"])
    for table in (known.APP_DECIDES, known.DOES_NOTHING, known.SAID_BY):
        assert table.keys() <= names
    assert all(known.APP_DECIDES.values())
    assert all(reason.endswith(".") for reason in known.DOES_NOTHING.values())
    assert set(known.SCRIPTS) == set(EVERY_FAMILY)
    assert set(known.SCRIPTS.values()) == set(known.by_script())


@pytest.mark.parametrize("key", DESCRIBED)
def test_the_families_of_a_setting_are_those_whose_script_takes_it(key: str) -> None:
    s = DESCRIBED[key]
    taking = {family for family, script in known.SCRIPTS.items() if key in known.by_script()[script]}
    if key in READ_BY_THE_BUILT_IN:
        taking.add("sd15")
    assert set(s.families) <= taking
    assert set(s.families) <= set(EVERY_FAMILY)


def test_what_begins_differently_from_family_to_family_is_left_to_the_script() -> None:
    for key, s in DESCRIBED.items():
        starts = {
            str(known.by_script()[known.SCRIPTS[family]][key][1])
            for family in s.families
            if key in known.by_script()[known.SCRIPTS[family]]
        }
        if len(starts) > 1:
            assert s.default is None, key
            assert "If it is empty" in s.what, key


@pytest.mark.parametrize("s", [s for s in OF_ONE_ENGINE if s.choices], ids=lambda s: s.key)
def test_a_choice_has_a_value_to_begin_with_or_may_be_left_out(s: Setting) -> None:
    assert s.optional or s.default in s.choices


def test_nothing_of_sd_scripts_alone_is_shown_or_written_for_the_built_in_engine() -> None:
    run = a_run()
    for family in (None, "sd15", "sdxl"):
        shown = {s.key for s in shown_settings(value_in(run), BUILT_IN, family)}
        assert not shown & {s.key for s in OF_ONE_ENGINE}
    written = {line.partition(" = ")[0] for line in f"{dump_config(run)}{dump_dataset(run)}".splitlines()}
    of_families = {s.key for s in OF_ONE_ENGINE if not {"sd15", "sdxl"} & set(s.families)}
    assert not written & (of_families | {"deepspeed", "cache_info", "async_upload"})


@pytest.mark.parametrize(
    ("family", "own", "strange"),
    [
        (
            "flux1",
            {"t5xxl", "clip_l", "ae", "guidance_scale", "timestep_sampling"},
            {"clip_g", "min_snr_gamma"},
        ),
        ("chroma", {"t5xxl", "ae", "apply_t5_attn_mask"}, {"clip_l", "vae", "cpu_offload_checkpointing"}),
        ("sd3", {"clip_g", "training_shift", "min_timestep"}, {"ae", "timestep_sampling", "ip_noise_gamma"}),
        ("lumina", {"gemma2", "system_prompt", "ae"}, {"t5xxl", "noise_offset"}),
        ("hunyuan-image", {"byt5", "fp8_scaled", "vae"}, {"fp8_base", "qwen3"}),
        ("anima", {"qwen3", "vae_disable_cache", "vae"}, {"fp8_base", "model_prediction_type"}),
        ("sd2", {"v2", "min_snr_gamma"}, {"t5xxl", "blocks_to_swap"}),
        ("sdxl", {"min_snr_gamma", "sdpa"}, {"v2", "blocks_to_swap", "clip_l"}),
    ],
)
def test_a_family_has_its_own_settings_and_none_of_the_others(
    family: str, own: set[str], strange: set[str]
) -> None:
    shown = {s.key for s in shown_settings(value_in(a_run()), SD_SCRIPTS, family)}
    assert own | {"learning_rate", "network_dim", "output_name"} <= shown
    assert not strange & shown


def test_a_way_to_draw_noise_and_a_network_own_their_arguments() -> None:
    def shown(family: str = "flux1", **values: object) -> set[str]:
        run = with_values(a_run(), values)
        return {s.key for s in shown_settings(value_in(run), SD_SCRIPTS, family)}

    assert "sigmoid_scale" in shown(timestep_sampling="flux_shift")
    assert "sigmoid_scale" not in shown(timestep_sampling="uniform")
    assert "discrete_flow_shift" not in shown(timestep_sampling="flux_shift")
    assert {"logit_mean", "logit_std"} <= shown(weighting_scheme="logit_normal")
    assert "mode_scale" not in shown(weighting_scheme="logit_normal")
    assert "split_qkv" in shown(network_module="networks.lora_flux")
    assert "split_qkv" not in shown("lumina", network_module="networks.lora_lumina")
    assert "enable_conv" in shown("sdxl", network_module="networks.oft")
    assert "zero_stage" in shown(deepspeed=True)
    assert "zero_stage" not in shown()


def test_a_file_of_another_family_is_read_whole_checked_and_refused_by_name_for_the_built_in_engine() -> None:
    text = (
        'clip_l = "/models/clip_l.safetensors"\nguidance_scale = 1.0\ntimestep_sampling = "flux_shift"\n'
        'network_module = "networks.lora_flux"\n'
        'network_args = ["train_blocks=single", "network_reg_dims=single_blocks=4", "split_qkv=True"]\n'
    )
    run = loads_run(MODEL + text, IMAGES)
    assert (run.loss.guidance_scale, run.network.train_blocks, run.network.split_qkv) == (1.0, "single", True)
    assert run.network.network_reg_dims == "single_blocks=4"
    assert run.other == {}
    assert loads_run(dump_config(run), dump_dataset(run)) == run
    assert '"split_qkv=True"' in dump_config(run)
    assert unsupported(run, SD_SCRIPTS) == []
    refused = {problem.setting for problem in unsupported(run, BUILT_IN)}
    assert {"clip_l", "guidance_scale", "timestep_sampling", "network_module", "split_qkv"} <= refused


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("use_8bit_adam = true\n", "optimizer_type", "AdamW8bit"),
        ("use_lion_optimizer = true\n", "optimizer_type", "Lion"),
        ("split_mode = true\n", "blocks_to_swap", 18),
        ('caption_extention = ".tags"\n', "caption_extension", ".tags"),
        ("dataset_repeats = 7\n", "num_repeats", 7),
        ("use_8bit_adam = false\n", "optimizer_type", "AdamW"),
        ('use_8bit_adam = true\noptimizer_type = "Lion"\n', "optimizer_type", "Lion"),
    ],
)
def test_an_old_switch_is_read_as_the_setting_that_says_the_same(line: str, key: str, value: object) -> None:
    run = loads_run(MODEL + line, IMAGES)
    assert value_in(run)(key) == value
    assert run.other == {}


def test_what_no_script_looks_at_is_kept_named_and_no_hindrance() -> None:
    text = MODEL + "fused_backward_pass = true\nself_attn_lr = 0.1\n"
    run = loads_run(text, IMAGES.replace("[[datasets]]\n", "[[datasets]]\nnetwork_multiplier = 0.5\n"))
    assert run.other == {"fused_backward_pass": True, "self_attn_lr": 0.1}
    told = {problem.setting: problem for problem in idle(run)}
    assert told.keys() == {"fused_backward_pass", "self_attn_lr", "network_multiplier"}
    assert all(problem.severity == "advice" for problem in told.values())
    assert unsupported(run, BUILT_IN) == []
    assert loads_run(dump_config(run), dump_dataset(run)) == run


def test_a_key_of_an_account_is_not_taken() -> None:
    run = loads_run(MODEL + 'huggingface_token = "hf_secret"\nresume_from_huggingface = true\n', IMAGES)
    assert run.other == {}
    assert "hf_secret" not in dump_config(run)


def test_files_of_other_tools_with_settings_of_another_family_are_understood() -> None:
    own = {
        "t5xxl": "/m/t5.safetensors",
        "guidance_scale": 1.0,
        "timestep_sampling": "shift",
        "blocks_to_swap": 18,
    }
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in own.items())
    found = read_recipe("flux.toml", f"learning_rate = 1e-4\n{text}\n".encode())
    assert {line.name for line in found.taken} >= own.keys()
    assert found.not_understood == ()
    gui = {"LoRA_type": "Flux1", "flux1_checkbox": True, "learning_rate": 1e-4, **own, "split_qkv": True}
    gui |= {"huggingface_repo_id": "me/mine", "ddp_timeout": 30, "sd3_text_encoder_batch_size": 1}
    found = read_recipe("gui.json", json.dumps(gui).encode())
    assert found.not_understood == ()
    assert (found.family, found.target["huggingface_repo_id"]) == ("flux1", "me/mine")


@pytest.mark.sd_scripts
def test_the_lists_are_those_of_the_parsers() -> None:
    """Names of all `add_argument("--…")` of the scripts and of what they call stand in the lists."""
    root = Path(os.environ["LORA_SD_SCRIPTS"])
    files = [root / f"{script}.py" for script in known.by_script()]
    files += [root / "library" / f"{name}.py" for name in ("flux_train_utils", "sd3_train_utils",
              "lumina_train_util", "anima_train_utils", "deepspeed_utils", "sai_model_spec")]  # fmt: skip
    names = {key for script in known.by_script().values() for key in script}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                flag = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
                assert str(flag).removeprefix("--") in names, f"{file.name}: {flag!r}"


@pytest.mark.sd_scripts
def test_choices_are_those_of_the_parsers() -> None:
    root = Path(os.environ["LORA_SD_SCRIPTS"])
    found: dict[str, set[object]] = {}
    for file in (
        *root.glob("*train_network.py"),
        *(root / "library").glob("*_train_util*.py"),
        root / "library" / "train_util.py",
    ):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                choices = next((each.value for each in node.keywords if each.arg == "choices"), None)
                if isinstance(choices, ast.List) and isinstance(node.args[0], ast.Constant):
                    key = str(node.args[0].value).removeprefix("--")
                    found.setdefault(key, set()).update(ast.literal_eval(choices))
    for s in OF_ONE_ENGINE:
        for choice in found.get(s.key, set()) - GONE - {None}:
            assert checked(s, choice).problem is None, f"{s.key}: {choice}"
        if s.key in found and s.choices:
            assert set(s.choices) <= found[s.key], s.key
