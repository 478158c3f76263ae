"""The optimizers and schedules: each learns, gets what a run says, and is refused when it cannot be."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sd_scripts_code import piece

from lora_core.engines.diffusers.optimizer_names import (
    CLASSES,
    TORCH,
    class_path,
    name_problems,
    optimizer_arguments,
)
from lora_core.engines.diffusers.optimizers import (
    averaged,
    load_class,
    new_optimizer,
    optimizer_name,
)
from lora_core.engines.diffusers.schedules import new_schedule, rex, try_out
from lora_core.errors import SettingsError
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    Setting,
    SubsetSettings,
    catalogue,
    owned_by,
    with_values,
)

LEARNERS = {
    # name: (rate, extra arguments)
    "AdamW": (0.05, []),
    "Adafactor": (0.05, ["relative_step=False", "scale_parameter=False"]),
    "Prodigy": (1.0, ["d0=0.01", "use_bias_correction=True"]),
    "Lion": (0.02, []),
    "CAME": (0.05, []),
    "AdamWScheduleFree": (0.05, []),
    "RAdamScheduleFree": (0.5, []),
    "SGDNesterov": (0.01, []),
    "NAdam": (0.05, []),
    "torch.optim.RMSprop": (0.01, ["alpha=0.9"]),
}


def a_run(extra: list[str] | None = None, course: list[str] | None = None, **values: Any) -> RunConfig:
    subset = SubsetSettings(image_dir=Path("/pictures"))
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=Path("/base")),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=(subset,)),)),
        other={"optimizer_args": extra or [], "lr_scheduler_args": course or []},
    )
    return with_values(run, values)


def groups(*weights: torch.Tensor, rates: tuple[float, ...] = (0.1,)) -> list[dict[str, Any]]:
    return [
        {"params": [weight], "lr": rate, "name": f"part {number}"}
        for number, (weight, rate) in enumerate(zip(weights, rates, strict=True))
    ]


def weight() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(3, 4))


def step(optimizer: torch.optim.Optimizer, target: torch.nn.Parameter) -> float:
    """One step towards a matrix of ones and twos; returns the loss before it."""
    goal = torch.arange(12.0).view(3, 4) % 2 + 1
    loss = (target - goal).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


@pytest.mark.parametrize("name", LEARNERS)
def test_an_optimizer_learns_and_its_rate_reaches_it(name: str) -> None:
    rate, extra = LEARNERS[name]
    target = weight()
    optimizer = new_optimizer(
        a_run(extra, optimizer_type=name, learning_rate=rate), groups(target, rates=(rate,))
    )
    losses = [step(optimizer, target) for _ in range(60)]
    assert optimizer.param_groups[0]["lr"] == rate
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", LEARNERS)
def test_an_optimizer_goes_on_from_its_state_to_the_last_bit(name: str) -> None:
    rate, extra = LEARNERS[name]
    run = a_run(extra, optimizer_type=name, learning_rate=rate)
    target = weight()
    optimizer = new_optimizer(run, groups(target, rates=(rate,)))
    for _ in range(5):
        step(optimizer, target)
    again = torch.nn.Parameter(target.detach().clone())
    second = new_optimizer(run, groups(again, rates=(rate,)))
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [step(optimizer, target) for _ in range(5)] == [step(second, again) for _ in range(5)]


def test_described_and_further_arguments_reach_the_optimizer() -> None:
    run = a_run(
        ["d_coef=2.0", "decouple=False"], optimizer_type="prodigy", weight_decay=0.5, betas=(0.8, 0.9)
    )
    assert optimizer_arguments(run) == {
        "weight_decay": 0.5,
        "betas": (0.8, 0.9),
        "d_coef": 2.0,
        "decouple": False,
    }
    group = new_optimizer(run, groups(weight())).param_groups[0]
    assert (group["weight_decay"], group["betas"], group["d_coef"], group["decouple"]) == (
        0.5,
        (0.8, 0.9),
        2.0,
        False,
    )
    assert optimizer_name(run) == (
        "prodigyopt.prodigy.Prodigy(weight_decay=0.5,betas=(0.8, 0.9),d_coef=2.0,decouple=False)"
    )


def test_adamw_left_alone_has_the_values_of_torch() -> None:
    group = new_optimizer(a_run(), groups(weight())).param_groups[0]
    assert (group["weight_decay"], group["betas"], group["eps"]) == (0.01, (0.9, 0.999), 1e-8)


def test_an_optimizer_with_three_betas_gets_three() -> None:
    run = a_run(["betas=(0.9, 0.99, 0.999)"], optimizer_type="came", learning_rate=0.1)
    assert new_optimizer(run, groups(weight())).param_groups[0]["betas"] == (0.9, 0.99, 0.999)


def test_each_part_of_the_network_has_its_rate() -> None:
    optimizer = new_optimizer(a_run(), groups(weight(), weight(), rates=(0.1, 0.2)))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


@pytest.mark.parametrize("extra", [[], ["relative_step=True"], ["relative_step=False", "warmup_init=True"]])
def test_an_adafactor_that_finds_its_rate_takes_none(extra: list[str]) -> None:
    run = a_run(extra, optimizer_type="adafactor", lr_scheduler="cosine", learning_rate=0.3)
    target = weight()
    optimizer = new_optimizer(run, groups(target))
    schedule = new_schedule(run, optimizer, 10)
    assert optimizer.defaults["lr"] is None
    assert optimizer.defaults["relative_step"]
    assert schedule.get_last_lr() == [0.3]
    for _ in range(5):
        step(optimizer, target)
        schedule.step()
    assert bool((target > 0).all())  # its first steps are far smaller than a loss can tell


@pytest.mark.parametrize(
    ("values", "extra", "setting"),
    [
        ({"optimizer_type": "Lion"}, ["eps=1e-8"], "optimizer_args"),
        ({"optimizer_type": "AdamW", "betas": (0.9, 1.5)}, [], "betas"),
        ({"optimizer_type": "AdamW"}, ["amsgrad=true"], "optimizer_args"),
        ({"optimizer_type": "torch.optim.adamw"}, [], "optimizer_type"),
        ({"optimizer_type": "json.JSONDecoder"}, [], "optimizer_type"),
        ({"optimizer_type": "no_such_package.Optimizer"}, [], "optimizer_type"),
    ],
)
def test_what_an_optimizer_does_not_take_is_refused_by_name(
    values: dict[str, Any], extra: list[str], setting: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        new_optimizer(a_run(extra, **values), groups(weight()))
    assert [problem.setting for problem in caught.value.problems] == [setting]


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam"])
def test_an_optimizer_that_is_built_and_cannot_step_is_refused_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot train a LoRA") as caught:
        try_out(a_run(optimizer_type=f"torch.optim.{name}"))
    assert [problem.setting for problem in caught.value.problems] == ["optimizer_type"]


def test_a_second_rate_is_refused_where_only_one_counts() -> None:
    with pytest.raises(SettingsError, match="one learning rate"):
        new_optimizer(a_run(optimizer_type="Prodigy"), groups(weight(), weight(), rates=(1.0, 0.5)))


def test_an_optimizer_of_8_bits_is_refused_without_its_package_or_a_gpu() -> None:
    run = a_run(optimizer_type="adamw8bit")
    if torch.cuda.is_available() and not name_problems(run):
        assert type(new_optimizer(run, groups(weight().cuda()))).__name__ == "AdamW8bit"
        return
    with pytest.raises(SettingsError, match=r"CUDA|not found"):
        new_optimizer(run, groups(weight()))


def test_a_schedule_free_optimizer_is_looked_at_as_its_average_and_goes_on_untouched() -> None:
    run = a_run(optimizer_type="adamwschedulefree", learning_rate=0.1)
    target = weight()
    optimizer = new_optimizer(run, groups(target))
    for _ in range(5):
        step(optimizer, target)
    before = target.detach().clone()
    with averaged(optimizer):
        assert not torch.equal(target, before)
    assert torch.equal(target, before)
    assert optimizer.param_groups[0]["train_mode"]


def test_the_names_of_torch_are_those_that_torch_has() -> None:
    assert all(load_class(class_path(name), "optimizer_type", torch.optim.Optimizer) for name in TORCH)
    # The others need a closure, sparse gradients, or matrices only.
    found = {name for name in dir(torch.optim) if isinstance(getattr(torch.optim, name), type)}
    assert found - TORCH == {"Adafactor", "LBFGS", "Muon", "Optimizer", "SparseAdam"} & found


def test_an_unknown_optimizer_is_named_and_a_known_one_is_not() -> None:
    assert [p.setting for p in name_problems(a_run(optimizer_type="DAdaptAdam"))] == ["optimizer_type"]
    assert [p.setting for p in name_problems(a_run(optimizer_type="no_such.Optimizer"))] == ["optimizer_type"]
    assert [p.setting for p in name_problems(a_run(lr_scheduler_type="no_such.Schedule"))] == [
        "lr_scheduler_type"
    ]
    for name, path in CLASSES.items():
        if not path.startswith("bitsandbytes"):
            assert name_problems(a_run(optimizer_type=name.upper())) == []


STEPS = 20
WARMUP = 4


def course(extra: list[str] | None = None, **values: Any) -> list[float]:
    """The rate of each of twenty steps, as a share of the learning rate."""
    run = a_run(course=extra, learning_rate=0.5, **values)
    optimizer = new_optimizer(run, groups(weight(), rates=(0.5,)))
    schedule = new_schedule(run, optimizer, STEPS)
    found = []
    for _ in range(STEPS):
        found.append(schedule.get_last_lr()[0] / 0.5)
        optimizer.step()
        schedule.step()
    return found


def left(step: int) -> float:
    """What is left of the run after the warm-up, from 1 to 0."""
    return 1 - (step - WARMUP) / (STEPS - WARMUP)


def cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part))


FORMULAS = {
    "constant_with_warmup": lambda _step: 1.0,
    "linear": left,
    "cosine": lambda step: cosine(1 - left(step)),
    "cosine_with_restarts": lambda step: cosine((1 - left(step)) * 2 % 1),
    # sd-scripts' end of 1e-7 is against the rate of 0.5
    "polynomial": lambda step: (1 - 2e-7) * left(step) ** 2 + 2e-7,
    "inverse_sqrt": lambda step: 1 / math.sqrt((step + 3) / 7),
    "cosine_with_min_lr": lambda step: 0.9 * cosine(2 * (1 - left(step))) + 0.1,
    "warmup_stable_decay": lambda step: 1.0 if step < 15 else 0.9 * cosine(2 * (step - 15) / 5) + 0.1,
    "rex": lambda step: 0.1 + 0.9 * left(step) / (0.5 + 0.5 * left(step)),
}


@pytest.mark.parametrize("warmup", [WARMUP, WARMUP / STEPS], ids=["steps", "share"])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_course_is_its_closed_formula(name: str, warmup: int | float) -> None:
    found = course(
        lr_scheduler=name,
        lr_warmup_steps=warmup,
        lr_scheduler_num_cycles=2,
        lr_scheduler_power=2.0,
        lr_scheduler_timescale=7,
        lr_scheduler_min_lr_ratio=0.1,
        lr_decay_steps=5,
    )
    start = (
        0.1 if name == "warmup_stable_decay" else 0.0
    )  # transformers lets that one rise from its lowest rate
    expected = [
        start + (1 - start) * step / WARMUP if step < WARMUP else FORMULAS[name](step)
        for step in range(STEPS)
    ]
    assert found == pytest.approx(expected)


def test_a_constant_rate_and_a_schedule_free_optimizer_stay_where_they_are() -> None:
    assert course(lr_scheduler="constant") == [1.0] * STEPS
    assert (
        course(lr_scheduler="cosine", lr_warmup_steps=5, optimizer_type="RAdamScheduleFree") == [1.0] * STEPS
    )


def test_a_course_in_pieces_follows_its_rules() -> None:
    found = course(["step_rules='1:5,0.1:10,0.01'"], lr_scheduler="piecewise_constant")
    assert found == pytest.approx([1.0] * 5 + [0.1] * 5 + [0.01] * 10)


def test_a_schedule_of_torch_is_taken_by_its_name_with_its_arguments() -> None:
    found = course(["step_size=5", "gamma=0.1"], lr_scheduler_type="StepLR")
    assert found == pytest.approx([0.1 ** (step // 5) for step in range(STEPS)])
    by_path = course(["step_size=5", "gamma=0.1"], lr_scheduler_type="torch.optim.lr_scheduler.StepLR")
    assert by_path == found


def test_rex_takes_its_bend_from_the_arguments() -> None:
    assert course(["d=0.9"], lr_scheduler="rex")[10] == pytest.approx(0.5 / (0.1 + 0.9 * 0.5))
    assert rex(20, num_warmup_steps=0, num_training_steps=20) == 0


@pytest.mark.parametrize(
    ("values", "extra", "setting"),
    [
        ({"lr_scheduler": "cosine"}, ["no_such=1"], "lr_scheduler_args"),
        ({"lr_scheduler": "rex"}, ["no_such=1"], "lr_scheduler_args"),
        ({"lr_scheduler_type": "ReduceLROnPlateau"}, [], "lr_scheduler_type"),
        ({"lr_scheduler_type": "NoSuch"}, [], "lr_scheduler_type"),
        ({"lr_scheduler_type": "StepLR"}, [], "lr_scheduler_args"),
    ],
)
def test_a_course_that_cannot_be_built_is_refused_by_name(
    values: dict[str, Any], extra: list[str], setting: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        course(extra, **values)
    assert [problem.setting for problem in caught.value.problems] == [setting]


@pytest.mark.sd_scripts
@pytest.mark.parametrize(
    "name", [name for name in FORMULAS if name != "rex"] + ["constant", "adafactor", "piecewise_constant"]
)
def test_a_course_is_that_of_sd_scripts(name: str) -> None:
    import ast
    import importlib
    from types import SimpleNamespace
    from typing import Optional

    import transformers
    from diffusers.optimization import TYPE_TO_SCHEDULER_FUNCTION as THEIRS
    from diffusers.optimization import SchedulerType as TheirNames
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, SchedulerType

    build = piece(
        "get_scheduler_fix",
        ast=ast,
        importlib=importlib,
        torch=torch,
        transformers=transformers,
        Optional=Optional,
        DiffusersSchedulerType=TheirNames,
        DIFFUSERS_TYPE_TO_SCHEDULER_FUNCTION=THEIRS,
        SchedulerType=SchedulerType,
        TYPE_TO_SCHEDULER_FUNCTION=TYPE_TO_SCHEDULER_FUNCTION,
        is_schedulefree_optimizer=lambda *_args: False,
    )
    kind = "Adafactor" if name == "adafactor" else "AdamW"
    extra = ["step_rules='1:5,0.1'"] if name == "piecewise_constant" else []
    warmup = 0 if name in {"constant", "adafactor"} else WARMUP
    values: dict[str, Any] = {
        "lr_warmup_steps": warmup,
        "lr_decay_steps": 5,
        "lr_scheduler_num_cycles": 3,
        "lr_scheduler_power": 1.5,
        "lr_scheduler_timescale": None,
        "lr_scheduler_min_lr_ratio": 0.2,
    }
    args = SimpleNamespace(
        **values,
        lr_scheduler="adafactor:0.5" if name == "adafactor" else name,
        lr_scheduler_type="",
        lr_scheduler_args=extra,
        max_train_steps=STEPS,
    )
    run = a_run(optimizer_type=kind, learning_rate=0.5)
    optimizer = new_optimizer(run, groups(weight(), rates=(0.5,)))
    schedule = build(args, optimizer, 1)
    theirs = []
    for _ in range(STEPS):
        theirs.append(schedule.get_last_lr()[0] / 0.5)
        optimizer.step()
        schedule.step()
    ours = course(extra, optimizer_type=kind, lr_scheduler=name, **values)
    assert ours == theirs


HERE = ["AdamW", "Adam", "NAdam", "SGD", "RMSprop", "Adafactor", "Prodigy", "Lion", "came_pytorch.CAME"]
HERE += ["AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"]
BESIDE: dict[str, dict[str, Any]] = {
    "nesterov": {"momentum": 0.5},
    "warmup_init": {"relative_step": True},
    "scale_parameter": {"relative_step": False},
}
"""What some arguments cannot do without."""
INSIDE = {"decoupled_weight_decay": "decoupled_wd"}


@pytest.mark.parametrize(
    ("name", "s"),
    [
        (name, s)
        for name in HERE
        for s in catalogue()
        if s.place == "optimizer_args" and (s.key == "weight_decay" or s in owned_by("optimizer_type", name))
    ],
    ids=lambda each: each if isinstance(each, str) else each.key,
)
def test_what_an_optimizer_owns_arrives_in_it(name: str, s: Setting) -> None:
    values = {"betas": (0.5, 0.25, 0.125) if "CAME" in name else (0.5, 0.25), "growth_rate": 1.5}
    asked = values.get(s.key, not s.default if s.kind == "flag" else None)
    if asked is None:
        asked = int(s.default or 1) + 1 if s.kind == "whole" else (s.default or 0.25) * 0.5
    run = a_run(optimizer_type=name, learning_rate=0.1, **{**BESIDE.get(s.key, {}), s.key: asked})
    optimizer = new_optimizer(run, groups(weight()))
    held = {**optimizer.defaults, **vars(optimizer), **optimizer.param_groups[0]}
    assert held[INSIDE.get(s.key, s.key) if name == "Lion" else s.key] == asked
