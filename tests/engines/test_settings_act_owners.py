"""Each argument that an optimizer or a course of the rate owns acts with every owner that is installed.

The twin runs of test_settings_act.py show each setting once. Here every pair of owner and setting is tried on
a few weights with given gradients, which takes a moment.
"""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import acts_rates_rig as rates
import pytest
import torch
from changed_rig import OWN
from torch import Tensor, nn

from lora_core.engines.diffusers.checks_learning import learning_problems
from lora_core.engines.diffusers.optimizer_names import CLASSES, TORCH
from lora_core.engines.diffusers.optimizers import new_optimizer, optimizer_name
from lora_core.engines.diffusers.schedules import new_schedule
from lora_core.settings import (
    BUILT_IN,
    CAME,
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    Setting,
    SubsetSettings,
    acts,
    no_effect,
    setting,
    value_in,
    with_values,
)

STEPS = 8
NOWHERE = Path("nowhere")
BARE = RunConfig(
    model=ModelSettings(pretrained_model_name_or_path=NOWHERE),
    dataset=DatasetFile(datasets=(DatasetSettings(subsets=(SubsetSettings(image_dir=NOWHERE),)),)),
)
INSTALLED = (
    "AdamW", "Adafactor", "Prodigy", "Lion", "AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree",
    "SGDNesterov", CAME[0], *sorted(TORCH - {"AdamW"}),
)  # fmt: skip
COURSES = tuple(name for name in setting("lr_scheduler").choices_for(BUILT_IN) if name != "adafactor")
NEEDED: dict[str, dict[str, Any]] = {
    # What one cannot do without, or what an argument of it needs beside it.
    "Prodigy": {"learning_rate": 1.0, "d0": 1e-3},
    "Adafactor": {"relative_step": False},
    "cosine_with_min_lr": {"lr_scheduler_min_lr_ratio": 0.1},
    "warmup_stable_decay": {"lr_decay_steps": 4},
    "piecewise_constant": {"step_rules": "1:2,0.5"},
    "warmup_init": {"relative_step": True},
    "relative_step": {"relative_step": True, "learning_rate": 0.03},
    "weight_lr_power": {"warmup_steps": 4},
    "amsgrad": {"betas": (0.9, 0.1)},
    "nesterov": {"momentum": 0.9},
    "dampening": {"momentum": 0.9},
    "decoupled_weight_decay": {"weight_decay": 0.5},
    "decouple": {"weight_decay": 0.5},
    "safeguard_warmup": {"use_bias_correction": True},
    "lr_scheduler_num_cycles": {"lr_decay_steps": 4},
}
CHANGED = {
    **{key: act.value for key, act in {**rates.OPTIMIZER, **rates.SCHEDULE}.items()},
    "eps": 0.5,
    "d0": 1e-2,
    "momentum": 0.5,
    "lr_decay_steps": 0.25,
}


def pairs(place: str, owners: tuple[str, ...], of: str) -> list[Any]:
    """Each owner with each setting of `place` that the description says it has."""
    found = []
    for owner in owners:
        value_of = value_in(with_values(BARE, {of: owner}))
        owned = [
            s
            for s in OWN
            if s.place == place and (acts(s, value_of) if of in s.only or not s.only else False)
        ]
        found += [pytest.param(owner, s, id=f"{owner}-{s.key}") for s in owned]
    return found


def run_of(owner_of: str, owner: str, s: Setting, *, changed: bool) -> RunConfig:
    values = {"learning_rate": 0.01, **NEEDED.get(owner, {}), **NEEDED.get(s.key, {}), owner_of: owner}
    value = CHANGED[s.key]
    if s.key == "betas" and owner in CAME:
        value = (*value, 0.99)
    has = value_in(with_values(BARE, {owner_of: owner}))
    values = {key: v for key, v in values.items() if key == owner_of or acts(setting(key), has)}
    return with_values(BARE, {**values, s.key: value} if changed else values)


def trajectory(run: RunConfig) -> Tensor:
    """A few weights over some steps, with gradients that shrink; one leads far away, one turns."""
    torch.manual_seed(3)
    weights = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(2, 5))]
    turn = [torch.randn(STEPS, *weight.shape) for weight in weights]
    with redirect_stdout(StringIO()):  # Prodigy prints
        optimizer = new_optimizer(
            run, [{"params": weights, "lr": run.optimizer.learning_rate, "name": "toy"}]
        )
    for step in range(STEPS):
        for weight, gradients in zip(weights, turn, strict=True):
            far = weight.detach() - 9 if weight is weights[0] else 0.0
            weight.grad = (far + gradients[step]) * 0.7**step
        optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.filterwarnings("ignore")  # optimizers with signatures that torch means to change
@pytest.mark.parametrize(("owner", "s"), pairs("optimizer_args", INSTALLED, "optimizer_type"))
def test_an_argument_acts_with_each_optimizer_that_owns_it(owner: str, s: Setting) -> None:
    before, after = (run_of("optimizer_type", owner, s, changed=changed) for changed in (False, True))
    assert not torch.equal(trajectory(before), trajectory(after))
    assert f"{s.key}=" in optimizer_name(after)


@pytest.mark.filterwarnings("ignore")
def test_each_optimizer_is_another_one() -> None:
    ends = {
        tuple(
            trajectory(
                with_values(BARE, {"learning_rate": 0.01, **NEEDED.get(name, {}), "optimizer_type": name})
            ).tolist()
        ): name
        for name in INSTALLED
    }
    assert sorted(ends.values()) == sorted(INSTALLED)
    assert {name.lower() for name in INSTALLED} >= {
        name for name, path in CLASSES.items() if not path.startswith("bitsandbytes")
    }


def shares(run: RunConfig) -> list[float]:
    weight = nn.Parameter(torch.zeros(1, 1))
    optimizer = new_optimizer(run, [{"params": [weight], "lr": 0.01, "name": "toy"}])
    schedule = new_schedule(run, optimizer, STEPS)
    found = []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"] / 0.01)
        optimizer.step()
        schedule.step()
    return found


COURSE_SETTINGS = tuple(
    s
    for s in OWN
    if s.concern == "schedule" and s.key not in {"lr_scheduler_type", "max_train_epochs", "max_train_steps"}
)


@pytest.mark.parametrize("s", COURSE_SETTINGS, ids=lambda s: s.key)
@pytest.mark.parametrize("course", COURSES)
def test_a_setting_of_a_course_acts_where_the_form_shows_it_and_nowhere_else(course: str, s: Setting) -> None:
    if s.key == "lr_scheduler":
        return
    before, after = (run_of("lr_scheduler", course, s, changed=changed) for changed in (False, True))
    look = value_in(after)
    if any(each.setting == s.key and each.severity == "error" for each in learning_problems(after)):
        return  # it is refused by its name, so nobody is misled
    shown = acts(s, look) and s.key not in no_effect(look, BUILT_IN, "sd15")
    if "lr_scheduler_type" in s.only and None not in s.only["lr_scheduler_type"]:
        assert not shown
    assert (shares(before) != shares(after)) == shown


def test_each_course_is_another_one() -> None:
    ends = {}
    for name in COURSES:
        values = {**NEEDED.get(name, {}), "lr_scheduler": name}
        if name == "cosine_with_restarts":
            values["lr_scheduler_num_cycles"] = 2  # with one cycle it is the course cosine
        if name == "polynomial":
            values["lr_scheduler_power"] = 2.0  # with 1 it is the course linear
        if name not in {"constant", "piecewise_constant"}:
            values["lr_warmup_steps"] = 2
        ends[tuple(shares(with_values(BARE, values)))] = name
    assert sorted(ends.values()) == sorted(COURSES)
