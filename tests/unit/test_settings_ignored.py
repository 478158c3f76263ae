"""Which settings do nothing beside the others: told with a reason, not shown, not written, never lost."""

import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import textstat
from test_settings import a_run, another_value, run_for

from lora_core.engines.diffusers.optimizer_names import class_path
from lora_core.settings import (
    BUILT_IN,
    SD_SCRIPTS,
    Setting,
    catalogue,
    dump_config,
    dump_dataset,
    idle,
    loads_run,
    no_effect,
    owned_by,
    setting,
    shown_settings,
    unsupported,
    value_in,
    with_values,
)
from lora_core.settings import _owners as owners
from lora_core.settings._toml import write_value
from lora_core.settings.ignored import RULES

MODEL = 'pretrained_model_name_or_path = "/models/base"\n'
IMAGES = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/images"\n'
OWNED = [s for s in catalogue() if s.only]
OWNED_IN_LISTS = [s for s in OWNED if s.place.endswith("_args")]


def of(**values: Any) -> Callable[[str], Any]:
    return value_in(with_values(a_run(), values))


def shown(**values: Any) -> set[str]:
    return {s.key for s in shown_settings(of(**values), BUILT_IN, "sd15")}


def ignored(engine: str = SD_SCRIPTS, family: str = "sd15", **values: Any) -> dict[str, str]:
    return no_effect(of(**values), engine, family)


@pytest.mark.parametrize(
    ("values", "own", "strange"),
    [
        ({"optimizer_type": "Prodigy"}, {"d_coef", "d0", "safeguard_warmup", "eps"}, {"relative_step", "r"}),
        ({"optimizer_type": "Adafactor"}, {"relative_step", "clip_threshold"}, {"betas", "eps", "d_coef"}),
        ({"optimizer_type": "CAME"}, {"betas", "clip_threshold"}, {"eps", "decay_rate"}),
        ({"optimizer_type": "pytorch_optimizer.CAME"}, {"betas", "eps1", "eps2"}, {"eps"}),
        ({"optimizer_type": "Lion"}, {"betas", "weight_decay"}, {"eps", "momentum"}),
        ({"optimizer_type": "lion8bit"}, {"betas"}, {"decoupled_weight_decay"}),
        ({"optimizer_type": "adamwschedulefree"}, {"warmup_steps", "r", "eps"}, {"silent_sgd_phase"}),
        ({"optimizer_type": "RAdamScheduleFree"}, {"silent_sgd_phase", "r"}, {"warmup_steps", "momentum"}),
        ({"optimizer_type": "SGD"}, {"momentum", "nesterov"}, {"betas", "eps"}),
        ({"optimizer_type": "my.Optimizer"}, {"betas", "eps", "weight_decay"}, {"d_coef", "momentum"}),
        ({}, {"amsgrad", "betas"}, {"algo", "factor", "dora_wd", "step_rules", "lr_scheduler_power"}),
        ({"lr_scheduler": "polynomial"}, {"lr_scheduler_power"}, {"lr_scheduler_num_cycles"}),
        ({"lr_scheduler": "piecewise_constant"}, {"step_rules"}, {"gamma"}),
        ({"lr_scheduler_type": "StepLR"}, {"gamma", "step_size"}, {"step_rules", "eta_min"}),
        ({"network_module": "lycoris.kohya"}, {"algo", "dora_wd", "conv_dim"}, {"factor", "block_dims"}),
        ({"network_module": "lycoris.kohya", "algo": "lokr"}, {"factor", "full_matrix"}, {"wd_on_output"}),
        ({"network_module": "lycoris.kohya", "dora_wd": True}, {"wd_on_output"}, {"factor"}),
    ],
    ids=str,
)
def test_a_form_shows_what_the_chosen_type_owns_and_nothing_of_the_others(
    values: dict[str, Any], own: set[str], strange: set[str]
) -> None:
    found = shown(**values)
    assert own <= found
    assert not strange & found
    assert strange <= ignored(**values).keys()
    assert not own & ignored(engine=BUILT_IN, **values).keys()


@pytest.mark.parametrize("s", OWNED_IN_LISTS, ids=lambda s: s.key)
def test_what_is_not_owned_is_not_written(s: Setting) -> None:
    owned = with_values(run_for(s), {s.key: another_value(s)})
    assert f'"{s.key}=' in dump_config(owned)
    strange = with_values(a_run(), {s.key: another_value(s)})
    if s.key in {one.key for one in shown_settings(value_in(strange), s.engines[0], None)}:
        strange = with_values(
            strange, {key: "networks.oft" if key == "network_module" else "Rprop" for key in s.only}
        )
    assert f'"{s.key}=' not in dump_config(strange)
    assert s.key in {problem.setting for problem in idle(strange)}
    kind = "error" if s.key == "dora_wd" else "advice"  # who asks for DoRA must not get a plain LoRA
    assert {problem.severity for problem in idle(strange)} == {kind}


@pytest.mark.parametrize("s", OWNED_IN_LISTS, ids=lambda s: s.key)
def test_what_stands_in_a_file_beside_a_stranger_is_kept_as_it_was(s: Setting) -> None:
    value = another_value(s)
    text = value if s.place == "network_args" else repr(value)
    network = "networks.lora" if owners.OFT in s.only.get("network_module", ()) else owners.OFT
    chosen = {
        "optimizer_args": 'optimizer_type = "Rprop"\n',
        "network_args": f'network_module = "{network}"\n',
    }
    items = [f"{s.key}={text}"]
    config = MODEL + chosen.get(s.place, "") + f"{s.place} = {write_value(items)}\n"
    run = loads_run(config, IMAGES)
    assert run.other[s.place] == items
    assert value_in(run)(s.key) == s.default
    assert loads_run(dump_config(run), dump_dataset(run)) == run
    assert unsupported(run, SD_SCRIPTS) == []


def test_an_argument_that_waits_for_another_choice_is_kept_in_the_file_too() -> None:
    run = loads_run(MODEL + 'lr_scheduler = "constant"\nlr_scheduler_num_cycles = 3\n', IMAGES)
    assert "lr_scheduler_num_cycles = 3" in dump_config(run)
    assert loads_run(dump_config(run), dump_dataset(run)) == run
    assert "lr_scheduler_power" not in dump_config(run)


def test_the_order_of_the_lines_does_not_decide_who_owns_an_argument() -> None:
    lines = ['optimizer_args = ["d_coef=2.0"]\n', 'optimizer_type = "prodigy"\n']
    lists = ['network_args = ["factor=8", "algo=lokr"]\n', 'network_module = "lycoris.kohya"\n']
    for text in ("".join([*lines, *lists]), "".join([*reversed(lines), *reversed(lists)])):
        run = loads_run(MODEL + text, IMAGES)
        assert (run.optimizer.d_coef, run.network.factor, run.other) == (2.0, 8, {})


def test_an_argument_of_an_unknown_optimizer_is_not_measured_by_anothers_limits() -> None:
    text = 'optimizer_type = "my.Optimizer"\noptimizer_args = ["momentum=(0.5, 2)", "r=\'x\'", "eps=1e-6"]\n'
    run = loads_run(MODEL + text, IMAGES)
    assert run.other["optimizer_args"] == ["momentum=(0.5, 2)", "r='x'"]
    assert run.optimizer.eps == 1e-6
    assert idle(run) == []


def test_an_argument_at_which_the_chosen_optimizer_stops_is_an_error_and_one_of_a_network_advice() -> None:
    text = 'optimizer_args = ["d_coef=2.0"]\nnetwork_args = ["factor=8"]\nlr_scheduler_args = ["gamma=0.5"]\n'
    found = {problem.setting: problem for problem in idle(loads_run(MODEL + text, IMAGES))}
    assert {key: problem.severity for key, problem in found.items()} == {
        "d_coef": "error",
        "factor": "advice",
        "gamma": "error",
    }
    assert "Prodigy" in found["d_coef"].what


def test_a_value_that_becomes_owned_is_written_once_and_the_setting_decides() -> None:
    run = loads_run(MODEL + 'optimizer_args = ["d_coef=2.0"]\n', IMAGES)
    again = with_values(run, {"optimizer_type": "Prodigy", "d_coef": 0.5})
    assert dump_config(again).count("d_coef=") == 1
    assert loads_run(dump_config(again), dump_dataset(again)).optimizer.d_coef == 0.5
    untouched = with_values(run, {"optimizer_type": "Prodigy"})
    assert loads_run(dump_config(untouched), dump_dataset(untouched)).optimizer.d_coef == 2.0


@pytest.mark.parametrize(
    ("values", "key", "word"),
    [
        ({"max_train_epochs": 3}, "max_train_steps", "epochs"),
        ({"sample_every_n_epochs": 1}, "sample_every_n_steps", "epochs"),
        ({"bucket_no_upscale": True}, "max_bucket_reso", "enlarged"),
        ({"enable_bucket": False}, "bucket_no_upscale", "buckets"),
        ({"optimizer_type": "AdamWScheduleFree"}, "lr_scheduler", "schedule-free"),
        ({"optimizer_type": "prodigyplus.ProdigyPlusScheduleFree"}, "lr_warmup_steps", "schedule-free"),
        ({"optimizer_type": "Adafactor"}, "unet_lr", "finds its own rate"),
        ({"optimizer_type": "Adafactor"}, "learning_rate", "finds its own rate"),
        ({"lr_scheduler_type": "StepLR"}, "lr_scheduler", "Another course"),
        ({"network_module": "networks.oft"}, "scale_weight_norms", "belongs to"),
        ({}, "huber_c", "Huber"),
        ({}, "text_encoder_lr", "image part"),
        ({}, "validate_every_n_epochs", "held back"),
        ({}, "d_coef", "Prodigy"),
        ({"network_module": "lycoris.kohya"}, "wd_on_output", "waits for"),
        ({"dim_from_weights": True, "network_weights": Path("/a.safetensors")}, "network_dim", "taken from"),
    ],
    ids=str,
)
def test_a_setting_without_effect_says_why(values: dict[str, Any], key: str, word: str) -> None:
    assert word in ignored(**values)[key]


def test_clip_skip_does_nothing_on_sdxl_alone() -> None:
    assert "SDXL" in ignored(family="sdxl")["clip_skip"]
    assert "clip_skip" not in ignored(family="sd15")
    assert "clip_skip" not in {s.key for s in shown_settings(of(), BUILT_IN, "sdxl")}


def test_files_of_the_way_are_kept_or_removed_also_where_their_number_is_set() -> None:
    keys = {"save_last_n_epochs", "save_last_n_epochs_state"}
    states = {"save_state": True}
    assert keys & ignored(**states).keys() == keys
    assert not keys & ignored(engine=SD_SCRIPTS, save_n_epoch_ratio=4, **states).keys()


def test_the_one_rate_does_nothing_where_each_part_has_its_own_and_nothing_else_looks_at_it() -> None:
    own = {"unet_lr": 2e-4, "network_train_unet_only": True}
    both = {"unet_lr": 2e-4, "text_encoder_lr": (1e-5,), "network_train_unet_only": False}
    for values in (own, both):
        assert "rate of its own" in ignored(**values)["learning_rate"]
    for acting in (
        {"unet_lr": 2e-4, "network_train_unet_only": False},
        {"text_encoder_lr": (1e-5,), "network_train_unet_only": False},
        {**own, "lr_scheduler": "polynomial"},  # its end is a share of the one rate
        {**own, "lr_scheduler_type": "OneCycleLR"},
    ):
        assert "learning_rate" not in ignored(**acting)


def test_what_acts_is_not_called_ignored() -> None:
    values = {
        "optimizer_type": "Adafactor",
        "relative_step": False,
        "max_train_epochs": None,
        "loss_type": "huber",
        "huber_schedule": "constant",
        "network_train_unet_only": False,
        "validation_split": 0.1,
        "conv_dim": 4,
    }
    acting = {"learning_rate", "lr_scheduler", "max_train_steps", "huber_scale", "text_encoder_lr"}
    acting |= {"validate_every_n_epochs", "conv_alpha", "min_bucket_reso", "network_dim"}
    assert not acting & ignored(**values).keys()


def test_a_warm_up_that_stops_the_run_stays_in_sight() -> None:
    assert "lr_warmup_steps" in ignored(lr_scheduler="constant")
    assert "lr_warmup_steps" not in ignored(lr_scheduler="constant", lr_warmup_steps=10)


def test_every_reason_is_one_plain_sentence() -> None:
    reasons = {rule.why for rule in RULES}
    for values in ({}, {"optimizer_type": "Prodigy", "network_module": "lycoris.kohya"}):
        reasons |= set(ignored(engine=BUILT_IN, **values).values())
    for reason in reasons:
        assert reason.endswith(".")
        assert textstat.flesch_kincaid_grade(reason) <= 8.5 or "See the setting" in reason, reason


def test_every_rule_names_settings_that_exist() -> None:
    assert all(setting(key) for rule in RULES for key in rule.keys)
    assert all(setting(key) for s in OWNED for key in s.only)


def test_what_an_optimizer_owns_can_be_listed_before_it_is_chosen() -> None:
    assert {"d_coef", "d0", "betas"} <= {s.key for s in owned_by("optimizer_type", "Prodigy")}
    assert "d_coef" not in {s.key for s in owned_by("optimizer_type", "AdamW")}
    assert {"algo", "conv_dim"} <= {s.key for s in owned_by("network_module", "lycoris.kohya")}


INSTALLED = [
    *("AdamW", "Adam", "NAdam", "RAdam", "SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Rprop", "ASGD"),
    *("Adafactor", "Prodigy", "Lion", "came_pytorch.CAME"),
    *("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"),
]


@pytest.mark.parametrize("name", INSTALLED)
def test_what_an_optimizer_owns_is_what_its_package_takes(name: str) -> None:
    module, _, kind = class_path(name).rpartition(".")
    takes = inspect.signature(getattr(__import__(module, fromlist=[kind]), kind)).parameters
    for s in catalogue():
        if s.place != "optimizer_args" or s.key == "weight_decay":
            continue
        own = s in owned_by("optimizer_type", name)
        pair = s.key == "eps" and name in {"Adafactor", "came_pytorch.CAME"}
        assert own == (s.key in takes and not pair), s.key
        default = takes[s.key].default if own else None
        if own and s.default is not None:
            assert default == s.default, s.key


LYCORIS_FOLDER = Path(str(importlib.util.find_spec("lycoris").origin)).parent  # type: ignore[union-attr]  # it is installed
METHODS = {
    "lora": "locon", "locon": "locon", "loha": "loha", "lokr": "lokr", "ia3": "ia3", "glora": "glora",
    "boft": "boft", "diag-oft": "diag_oft", "full": "full", "dylora": "dylora",
}  # fmt: skip


def test_what_lycoris_owns_is_what_it_reads() -> None:
    body = (LYCORIS_FOLDER / "kohya.py").read_text("utf-8").split("def create_network_from_weights")[0]
    reads = set(re.findall(r'kwargs\.get\("(\w+)"', body))
    for s in catalogue():
        if s.place == "network_args" and s in owned_by("network_module", "lycoris.kohya"):
            assert s.key in reads, s.key


@pytest.mark.parametrize("method", METHODS)
def test_what_one_method_of_lycoris_owns_is_what_its_layer_takes(method: str) -> None:
    layer = (LYCORIS_FOLDER / "modules" / f"{METHODS[method]}.py").read_text("utf-8")
    (taken,) = re.findall(r"def __init__\((.*?)\)(?: ->.*?)?:\n", layer, re.DOTALL)[:1]
    of_single_methods = {
        "factor", "decompose_both", "full_matrix", "unbalanced_factorization", "constraint", "rescaled",
        "block_size",
    }  # fmt: skip
    for key in of_single_methods:
        assert (setting(key) in owned_by("algo", method)) == bool(re.search(rf"\b{key}\b", taken)), key
    assert method in setting("algo").choices
