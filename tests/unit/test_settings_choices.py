"""What comes with choosing an optimizer, a schedule or a network, and what goes."""

from collections.abc import Callable
from typing import Any

import pytest
from test_settings import a_run

from lora_core.engines.diffusers.checks_learning import learning_problems
from lora_core.settings import (
    advice_for,
    idle,
    meaning,
    on_choice,
    setting,
    value_in,
    with_values,
)


def of(**values: Any) -> Callable[[str], Any]:
    return value_in(with_values(a_run(), values))


def chosen(key: str, value: Any, **before: Any) -> dict[str, Any]:
    """All values after the choice that were set before or are set by it."""
    run = with_values(a_run(), before)
    return {**before, key: value, **on_choice(key, value, value_in(run))}


OPTIMIZERS = ["AdamW", "AdamW8bit", "Adafactor", "Prodigy", "Lion", "came_pytorch.CAME", "AdamWScheduleFree"]
RECIPE = {
    "learning_rate": 3e-4,
    "unet_lr": 3e-4,
    "text_encoder_lr": (3e-5,),
    "network_train_unet_only": False,
    "lr_warmup_steps": 0.05,
    "weight_decay": 0.1,
    "betas": (0.9, 0.99),
}


def test_prodigy_comes_with_one_rate_of_1_and_without_the_arguments_of_adamw() -> None:
    found = on_choice("optimizer_type", "Prodigy", of(**RECIPE))
    assert found == {
        "learning_rate": 1.0,
        "unet_lr": None,
        "text_encoder_lr": None,
        "lr_warmup_steps": 0,
        "weight_decay": 0.01,
        "betas": None,
        "use_bias_correction": True,
        "safeguard_warmup": True,
    }


def test_a_text_part_that_is_switched_off_by_its_rate_stays_off() -> None:
    off = {"text_encoder_lr": (0.0,), "network_train_unet_only": False}
    assert "text_encoder_lr" not in on_choice("optimizer_type", "Prodigy", of(**off))


def test_back_from_prodigy_nothing_of_it_is_left() -> None:
    there = chosen("optimizer_type", "Prodigy", **RECIPE, d_coef=2.0)
    back = chosen("optimizer_type", "AdamW", **there)
    assert back["learning_rate"] == setting("learning_rate").default
    for key in ("d_coef", "weight_decay", "use_bias_correction", "safeguard_warmup", "unet_lr"):
        assert back[key] == setting(key).default, key


def test_lion_takes_a_fifth_and_gives_it_back() -> None:
    there = chosen("optimizer_type", "Lion", **RECIPE)
    assert (there["learning_rate"], there["unet_lr"], there["text_encoder_lr"]) == (6e-5, 6e-5, (6e-6,))
    back = chosen("optimizer_type", "AdamW8bit", **there)
    assert (back["learning_rate"], back["unet_lr"], back["text_encoder_lr"]) == (3e-4, 3e-4, (3e-5,))


def test_came_comes_with_its_rates_of_a_published_recipe() -> None:
    there = chosen("optimizer_type", "came_pytorch.CAME", text_encoder_lr=(1e-5,))
    assert (there["learning_rate"], there["text_encoder_lr"], there["weight_decay"]) == (6e-5, (6e-6,), 0.04)
    back = chosen("optimizer_type", "AdamW", **there)
    assert (back["learning_rate"], back["text_encoder_lr"]) == (1e-4, (1e-5,))


def test_adafactor_comes_with_a_fixed_rate_and_what_that_needs() -> None:
    there = chosen("optimizer_type", "Adafactor", **RECIPE)
    assert (there["relative_step"], there["scale_parameter"]) == (False, False)
    assert (there["learning_rate"], there["lr_scheduler"]) == (2e-4, "constant_with_warmup")
    assert there["max_grad_norm"] == 0
    back = chosen("optimizer_type", "AdamW", **there)
    assert (back["lr_scheduler"], back["max_grad_norm"]) == ("cosine", 1.0)
    assert back["relative_step"] is True


def test_a_schedule_free_optimizer_comes_with_a_constant_rate_and_leaves_with_it() -> None:
    there = chosen("optimizer_type", "RAdamScheduleFree", lr_scheduler="linear", lr_warmup_steps=50)
    assert (there["lr_scheduler"], there["lr_warmup_steps"]) == ("constant", 0)
    assert there.get("learning_rate", 1e-4) == 1e-4
    assert chosen("optimizer_type", "AdamW", **there)["lr_scheduler"] == "cosine"


def test_another_build_of_the_same_optimizer_changes_nothing() -> None:
    assert on_choice("optimizer_type", "AdamW8bit", of(**RECIPE)) == {}
    assert on_choice("optimizer_type", "AdamW", of(**RECIPE)) == {}


def test_other_optimizers_that_find_their_rate_want_1_too() -> None:
    for name in ("DAdaptAdam", "prodigyplus.ProdigyPlusScheduleFree"):
        there = chosen("optimizer_type", name, **RECIPE)
        assert (there["learning_rate"], there["unet_lr"], there["text_encoder_lr"]) == (1.0, None, None)
        assert "multiplies" in (meaning("learning_rate", of(**there)) or "")
        assert chosen("optimizer_type", "AdamW", **there)["learning_rate"] == 1e-4


def test_a_schedule_of_ones_own_stays_with_the_next_optimizer() -> None:
    assert "lr_scheduler" not in on_choice("optimizer_type", "Lion", of(lr_scheduler="linear"))


@pytest.mark.parametrize("before", OPTIMIZERS)
@pytest.mark.parametrize("after", OPTIMIZERS)
def test_from_each_optimizer_to_each_other_one_the_run_can_start(before: str, after: str) -> None:
    there = chosen("optimizer_type", before, **RECIPE)
    run = with_values(a_run(), chosen("optimizer_type", after, **there))
    # An optimizer whose package is not installed is told too, and that is none of the choice.
    assert [p for p in learning_problems(run) if "not installed" not in p.what] == []
    assert idle(run) == []
    assert (run.optimizer.learning_rate == 1.0) == (after == "Prodigy")


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("lr_scheduler", "constant", {"lr_warmup_steps": 0.05}, {"lr_warmup_steps": 0}),
        ("lr_scheduler", "linear", {"lr_warmup_steps": 0.05}, {}),
        ("lr_scheduler", "cosine_with_min_lr", {}, {"lr_scheduler_min_lr_ratio": 0.1}),
        (
            "lr_scheduler",
            "cosine",
            {"lr_scheduler": "polynomial", "lr_scheduler_power": 2.0},
            {"lr_scheduler_power": 1.0},
        ),
        ("lr_scheduler_type", "StepLR", {"lr_warmup_steps": 10}, {"lr_warmup_steps": 0}),
        (
            "lr_scheduler_type",
            None,
            {"lr_scheduler_type": "StepLR", "gamma": 0.5, "step_size": 9},
            {"gamma": None, "step_size": None},
        ),
        (
            "network_module",
            "networks.lora",
            {"network_module": "lycoris.kohya", "algo": "lokr", "factor": 8, "conv_dim": 4},
            {"algo": "lora", "factor": -1},
        ),
        ("network_module", "lycoris.kohya", {"up_lr_weight": "sine"}, {"up_lr_weight": None}),
        (
            "algo",
            "loha",
            {"network_module": "lycoris.kohya", "algo": "lokr", "factor": 8, "use_tucker": True},
            {"factor": -1},
        ),
        (
            "dora_wd",
            False,
            {"network_module": "lycoris.kohya", "dora_wd": True, "wd_on_output": False},
            {"wd_on_output": True},
        ),
        (
            "algo",
            "lokr",
            {"network_module": "lycoris.kohya", "network_dropout": 0.1, "rank_dropout": 0.1},
            {"network_dropout": None, "rank_dropout": None},
        ),
        ("network_dim", 8, {"betas": (0.9, 0.99)}, {}),
    ],
    ids=str,
)
def test_a_choice_drops_what_is_not_its_own_and_sets_what_it_needs(
    key: str, value: Any, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert on_choice(key, value, of(**before)) == after
    run = with_values(a_run(), {**before, key: value, **after})
    assert learning_problems(run) == []
    assert idle(run) == []


def test_the_rate_means_something_else_beside_prodigy_and_has_another_range() -> None:
    prodigy = of(optimizer_type="Prodigy")
    assert "multiplies" in (meaning("learning_rate", prodigy) or "")
    assert meaning("learning_rate", of()) is None
    advice = advice_for(setting("learning_rate"), prodigy)
    assert advice is not None
    assert advice.high == 1
    assert advice_for(setting("learning_rate"), of()) == setting("learning_rate").advice
    assert advice_for(setting("network_dim"), prodigy) == setting("network_dim").advice
