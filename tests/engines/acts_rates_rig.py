"""What each setting of the optimizer and of the learning rate's course does.

Covered: the rate of every step against its formula, the first steps of optimizers against theirs, and
arguments of packages that are not installed, by stand-ins that take them. Not covered: whole optimizers
(see test_optimizers.py).
"""

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from acts_rig import FIRST, FOUR, RATE, Act, Seen, close, differ, learns_otherwise, same_questions

STAND_INS: Final = {
    "pytorch_optimizer": """
import torch
class CAME(torch.optim.SGD):
    def __init__(self, params, lr, betas=None, eps1=1e-30, eps2=1e-16, **more):
        super().__init__(params, lr=lr)
        TOLD.append({"eps1": eps1, "eps2": eps2})
TOLD = []
""",
    "LoraEasyCustomOptimizer/CosineAnnealingWarmRestarts": """
from torch.optim.lr_scheduler import LambdaLR
class CosineAnnealingWarmRestarts(LambdaLR):
    def __init__(self, optimizer, first_cycle_max_steps, gamma, cycle_multiplier=1.0, min_lr=1e-6):
        super().__init__(optimizer, lambda step: 1 / (1 + step))
        first = {"first_cycle_max_steps": first_cycle_max_steps}
        TOLD.append({**first, "cycle_multiplier": cycle_multiplier, "min_lr": min_lr})
TOLD = []
""",
}
"""Packages that the app does not install: what is told to them is all that can be shown here."""
STAND_IN_COURSE: Final = "LoraEasyCustomOptimizer.CosineAnnealingWarmRestarts.CosineAnnealingWarmRestarts"
OF_THE_STAND_IN: Final = {"lr_scheduler_type": STAND_IN_COURSE, "gamma": 0.5, "first_cycle_max_steps": 4}


def write_stand_ins(folder: Path) -> None:
    for name, text in STAND_INS.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        if path.parent != folder:
            (path.parent / "__init__.py").touch()


def tells(module: str, **wanted: Any) -> Callable[[Seen, Seen], None]:
    """The package got the value, and did not get it without."""

    def shows(one: Seen, other: Seen) -> None:
        told = sys.modules[module].TOLD
        ((key, value),) = wanted.items()
        assert one.run != other.run
        assert {each[key] for each in told} >= {value}
        assert any(each[key] != value for each in told)

    return shows


def course(*shares: float) -> Callable[[Seen, Seen], None]:
    """The rates are these shares of the learning rate."""

    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        close(other.rates, [RATE * share for share in shares], rtol=1e-5)
        assert one.rates != other.rates

    return shows


def first_step(size: float) -> Callable[[Seen, Seen], None]:
    """AdamW's first step is as long as the rate."""

    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        close([one.most(), other.most()], [RATE, size], rtol=1e-2)
        close([one.rates[0], other.rates[0]], [RATE, size])

    return shows


def ups(seen: Seen) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in seen.layers("lora_up").values()]).double()


def downs(seen: Seen) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in seen.layers("lora_down").values()]).double()


def only_signs(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    assert other.notes["ss_optimizer"].startswith("lion_pytorch")
    moved = ups(other).abs()
    close(moved[moved > 0], torch.full_like(moved[moved > 0], RATE), rtol=1e-5)
    assert differ(one.lora, other.lora)


def gradient_is_clipped(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    norm = other.norms[0]
    assert norm == one.norms[0] > 0.01
    close(ups(one).norm(), RATE * min(1.0, norm))
    close(ups(other).norm(), RATE * 0.01)


def norms_are_limited(one: Seen, other: Seen) -> None:
    assert max(added(one)) > 0.001
    assert max(added(other)) <= 0.001 * 1.001


def added(seen: Seen) -> list[float]:
    """The norm of what each layer adds; alpha / rank is a half."""
    return [
        0.5 * float((up.flatten(1) @ seen.lora[name.replace("lora_up", "lora_down")].flatten(1)).norm())
        for name, up in seen.layers("lora_up").items()
    ]


def down_shrinks(one: Seen, other: Seen) -> None:
    """At the first step the down weights have no gradient, so that only the decay moves them."""
    same_questions(one, other)
    close(downs(other), downs(one) * (1 - RATE * 0.5) / (1 - RATE * 0.01), rtol=1e-5)


def steps_get_shorter(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    assert float(ups(other).norm()) < 0.5 * float(ups(one).norm())


def starts_at(first: float) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        assert one.rates[0] != other.rates[0]
        close(other.rates[0], first)

    return shows


def grows_faster(one: Seen, other: Seen) -> None:
    learns_otherwise(one, other)
    assert other.rates[-1] > one.rates[-1]


def grows_slowly(one: Seen, other: Seen) -> None:
    learns_otherwise(one, other)
    # The first guess may be of any size; from there on the rate may grow by a hundredth a step.
    found = [rate for rate in other.rates if rate != other.rates[0]]
    growth = [after / before for before, after in pairwise(found)]
    assert max(growth) <= 1.01 + 1e-6
    assert one.rates[-1] > other.rates[-1]


def other_rates(one: Seen, other: Seen) -> None:
    same_questions(one, other)
    assert one.rates != other.rates
    assert differ(one.lora, other.lora)


def buffered(one: Seen, other: Seen) -> None:
    """SGD: the first step is the same, and the second one remembers it."""
    learns_otherwise(one, other)
    assert one.losses[:2] == other.losses[:2]


def as_long_as(steps: int) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        assert (len(one.losses), len(other.losses)) == (2, steps)

    return shows


def epochs_count(one: Seen, other: Seen) -> None:
    assert len(one.losses) == 2
    assert len(other.losses) == 3 * other.steps_per_epoch
    assert other.notes["ss_num_epochs"] == "3"


def _of(name: str, **arguments: Any) -> dict[str, Any]:
    """Three steps with this optimizer."""
    return {"optimizer_type": name, "max_train_steps": 3, **arguments}


SGD: Final = _of("SGD", momentum=0.9)
PRODIGY: Final = {**_of("Prodigy", learning_rate=1.0, d0=1e-4), "max_train_steps": 6}
ADAFACTOR: Final = _of("Adafactor", relative_step=False)
FREE: Final = _of("AdamWScheduleFree")
RADAM: Final = _of("RAdamScheduleFree")
LION: Final = _of("Lion", weight_decay=0.5)

OPTIMIZER: Final[dict[str, Act]] = {
    "optimizer_type": Act("Lion", only_signs, FIRST),
    "learning_rate": Act(0.003, first_step(0.003), FIRST),
    "unet_lr": Act(0.003, first_step(0.003), FIRST),
    "max_grad_norm": Act(0.01, gradient_is_clipped, {"optimizer_type": "SGD", **FIRST}),
    "scale_weight_norms": Act(0.001, norms_are_limited, FIRST),
    "weight_decay": Act(0.5, down_shrinks, FIRST),
    "betas": Act((0.5, 0.9), buffered, {"max_train_steps": 3}),
    "eps": Act(1.0, steps_get_shorter, FIRST),
    "d_coef": Act(2.0, grows_faster, PRODIGY),
    "d0": Act(1e-3, starts_at(1e-3), PRODIGY),
    "growth_rate": Act(1.01, grows_slowly, PRODIGY),
    "decouple": Act(False, learns_otherwise, {**PRODIGY, "weight_decay": 0.5}),
    "use_bias_correction": Act(True, learns_otherwise, PRODIGY),
    "safeguard_warmup": Act(True, learns_otherwise, {**PRODIGY, "use_bias_correction": True}),
    "beta3": Act(0.5, learns_otherwise, PRODIGY),
    "slice_p": Act(3, learns_otherwise, PRODIGY),
    "relative_step": Act(False, other_rates, _of("Adafactor", learning_rate=0.02)),
    "scale_parameter": Act(False, learns_otherwise, ADAFACTOR),
    "warmup_init": Act(True, other_rates, _of("Adafactor")),
    "clip_threshold": Act(0.1, steps_get_shorter, {**ADAFACTOR, **FIRST}),
    "decay_rate": Act(-0.3, buffered, ADAFACTOR),
    "beta1": Act(0.5, learns_otherwise, ADAFACTOR),
    "eps1": Act(1e-20, tells("pytorch_optimizer", eps1=1e-20), _of("pytorch_optimizer.CAME")),
    "eps2": Act(1e-10, tells("pytorch_optimizer", eps2=1e-10), _of("pytorch_optimizer.CAME")),
    "warmup_steps": Act(3, learns_otherwise, FREE),
    "r": Act(2.0, learns_otherwise, FREE),
    "weight_lr_power": Act(0.5, learns_otherwise, {**FREE, "warmup_steps": 3}),
    "silent_sgd_phase": Act(False, learns_otherwise, RADAM),
    "momentum": Act(0.9, buffered, _of("SGD")),
    "dampening": Act(0.5, buffered, SGD),
    "nesterov": Act(True, learns_otherwise, SGD),
    "amsgrad": Act(True, learns_otherwise, {"betas": (0.9, 0.1), "max_train_steps": 6}),
    "decoupled_weight_decay": Act(True, learns_otherwise, LION),
}


def _course(name: str, **arguments: Any) -> dict[str, Any]:
    return {"lr_scheduler": name, "batch_size": 1, **FOUR, **arguments}


def _named(name: str, *arguments: str) -> dict[str, Any]:
    return {
        "lr_scheduler_type": name,
        "batch_size": 1,
        **({"lists": {"lr_scheduler_args": arguments}} if arguments else {}),
        **FOUR,
    }


def _cosine(at: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * at))


def _rex(left: float, d: float) -> float:
    return left / (1 - d + d * left)


TAIL: Final = 1e-7 / RATE
"""What transformers' polynomial leaves at the end, as a share."""

SCHEDULE: Final[dict[str, Act]] = {
    "lr_scheduler": Act("linear", course(1, 0.75, 0.5, 0.25), _course("constant")),
    "lr_scheduler_type": Act(
        "torch.optim.lr_scheduler.LinearLR", course(1 / 3, *(1 / 3 + n * 2 / 15 for n in (1, 2, 3))), FOUR
    ),
    "lr_warmup_steps": Act(2, course(0, 0.5, 1, 1), _course("constant_with_warmup")),
    "lr_decay_steps": Act(
        0.5, course(1, 1, 1, _cosine(0.5)), _course("warmup_stable_decay", lr_scheduler_min_lr_ratio=0.0)
    ),
    "lr_scheduler_num_cycles": Act(
        2, course(1, _cosine(0.5), 1, _cosine(0.5)), _course("cosine_with_restarts")
    ),
    "lr_scheduler_power": Act(
        2.0,
        course(*((1 - n / 4) ** 2 * (1 - TAIL) + TAIL for n in range(4))),
        _course("polynomial"),
    ),
    "lr_scheduler_timescale": Act(
        4, course(*(1 / math.sqrt((n + 4) / 4) for n in range(4))), _course("inverse_sqrt")
    ),
    "lr_scheduler_min_lr_ratio": Act(
        0.5, course(*(0.5 + 0.5 * _rex(1 - n / 4, 0.5) for n in range(4))), _course("rex")
    ),
    "max_train_epochs": Act(3, epochs_count),
    "max_train_steps": Act(3, as_long_as(3)),
    "step_rules": Act("1:2,0.1", course(1, 1, 0.1, 0.1), _course("piecewise_constant", step_rules="1:1,0.5")),
    "d": Act(0.9, course(*(_rex(1 - n / 4, 0.9) for n in range(4))), _course("rex")),
    "gamma": Act(0.5, course(1, 0.5, 0.25, 0.125), _named("StepLR", "step_size=1")),
    "step_size": Act(2, course(1, 1, 0.5, 0.5), {**_named("StepLR"), "gamma": 0.5, "step_size": 1}),
    "eta_min": Act(
        RATE / 2,
        course(*(0.5 + 0.5 * _cosine(n / 4) for n in range(4))),
        _named("CosineAnnealingLR", "T_max=4"),
    ),
    "first_cycle_max_steps": Act(
        9,
        tells("LoraEasyCustomOptimizer.CosineAnnealingWarmRestarts", first_cycle_max_steps=9),
        {**OF_THE_STAND_IN, **FIRST},
    ),
    "cycle_multiplier": Act(
        1.5,
        tells("LoraEasyCustomOptimizer.CosineAnnealingWarmRestarts", cycle_multiplier=1.5),
        {**OF_THE_STAND_IN, **FIRST},
    ),
    "min_lr": Act(
        1e-5,
        tells("LoraEasyCustomOptimizer.CosineAnnealingWarmRestarts", min_lr=1e-5),
        {**OF_THE_STAND_IN, **FIRST},
    ),
}
