"""What sd-scripts refuses or reads otherwise of how a run learns: optimizer, schedule, noise and loss.

Covered: rows, read in its code at 48d368f. Not covered: arguments that only a package can judge, and
whether the package is installed.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from lora_core.settings import _owners
from lora_core.settings._description import EVERY_UNET_FAMILY, FLOW_FAMILIES
from lora_core.settings.conflicts._table import Conflict, Seen

_TRAIN: Final = "library/train_util.py"
_NO_WARMUP: Final = (_TRAIN, "does not require `num_warmup_steps`")
_EMPTY: Final = ("", "optimizer got an empty parameter list")
_ONE_RATE: Final = ("", "Setting different lr values in different parameter groups is only supported")
_TORCH: Final = frozenset({
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD", "SparseAdam",
})  # fmt: skip
_OWN: Final = frozenset({
    "", "adamw", "adamw8bit", "pagedadamw", "pagedadamw8bit", "pagedadamw32bit", "lion", "lion8bit",
    "pagedlion8bit", "sgdnesterov", "sgdnesterov8bit", "prodigy", "adafactor", "radamschedulefree",
    "adamwschedulefree", "sgdschedulefree", "dadaptation", "dadaptadampreprint", "dadaptadagrad",
    "dadaptadam", "dadaptadan", "dadaptadanip", "dadaptlion", "dadaptsgd",
})  # fmt: skip
_MIX: Final = ("ademamix8bit", "pagedademamix8bit")
_MIX_PATHS: Final = {"a": "bitsandbytes.optim.AdEMAMix8bit", "p": "bitsandbytes.optim.PagedAdEMAMix8bit"}
_PARTS_OF_RATES: Final = (
    "down_lr_weight", "mid_lr_weight", "up_lr_weight",
    "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio",
)  # fmt: skip


def _one_rate(seen: Seen) -> bool:
    name = str(seen["optimizer_type"]).rpartition(".")[2].lower()
    return name.startswith(("prodigy", "dadapt")) and not seen.keeps_one_rate


def _warms_up(seen: Seen) -> bool:
    return bool(seen["lr_warmup_steps"]) and not seen.keeps_one_rate


def _course(*names: str) -> Callable[[Seen], bool]:
    return lambda seen: (
        seen["lr_scheduler"] in names
        and not seen["lr_scheduler_type"]
        and not seen.keeps_one_rate
        and not seen.finds_its_rate
    )


def _type_ends(seen: Seen, *endings: str) -> bool:
    return str(seen["lr_scheduler_type"] or "").endswith(endings) and not seen.keeps_one_rate


def _over_one(key: str) -> Callable[[Seen], bool]:
    return lambda seen: isinstance(seen[key], float) and seen[key] > 1


def _as_steps(key: str) -> Callable[[Seen], dict[str, Any]]:
    return lambda seen: {key: round(seen[key])}


def _split(seen: Seen) -> dict[str, Any]:
    """The parts of the rate that are set, each left out."""
    return {key: None for key in _PARTS_OF_RATES if seen[key] is not None}


SCHEDULES: Final = (
    Conflict(
        name="constant with a warm-up",
        key="lr_warmup_steps",
        when=lambda seen: _warms_up(seen) and _course("constant")(seen),
        what="The schedule constant has no warm-up.",
        fix="Set lr_scheduler to constant_with_warmup, or lr_warmup_steps to 0.",
        mend={"lr_scheduler": "constant_with_warmup"},
        source=_NO_WARMUP,
    ),
    Conflict(
        name="a named schedule with a warm-up",
        key="lr_warmup_steps",
        when=lambda seen: _warms_up(seen) and bool(seen["lr_scheduler_type"]),
        what="A schedule named in lr_scheduler_type gets no warm-up from sd-scripts.",
        fix="Set lr_warmup_steps to 0.",
        mend={"lr_warmup_steps": 0},
        source=_NO_WARMUP,
    ),
    Conflict(
        name="Adafactor's own rate with a warm-up",
        key="lr_warmup_steps",
        when=lambda seen: _warms_up(seen) and seen.finds_its_rate and not seen["lr_scheduler_type"],
        what="Adafactor has no warm-up while it finds its own rate.",
        fix="Set lr_warmup_steps to 0, or turn off relative_step.",
        mend={"lr_warmup_steps": 0},
        source=_NO_WARMUP,
    ),
    Conflict(
        name="the schedule adafactor without Adafactor's own rate",
        key="lr_scheduler",
        when=_course("adafactor"),
        what="The schedule adafactor is only for an Adafactor that finds its own rate.",
        fix="Set lr_scheduler to constant.",
        mend={"lr_scheduler": "constant"},
        source=(_TRAIN, "adafactor scheduler must be used with Adafactor optimizer"),
    ),
    Conflict(
        name="cosine_with_min_lr without a lowest rate",
        key="lr_scheduler_min_lr_ratio",
        when=lambda seen: _course("cosine_with_min_lr")(seen) and seen["lr_scheduler_min_lr_ratio"] is None,
        what="The schedule cosine_with_min_lr needs a lowest rate.",
        fix="Set lr_scheduler_min_lr_ratio, to 0.1 for example.",
        mend={"lr_scheduler_min_lr_ratio": 0.1},
        source=("", "One of min_lr or min_lr_rate should be set"),
    ),
    Conflict(
        name="piecewise_constant without its pieces",
        key="step_rules",
        when=lambda seen: _course("piecewise_constant")(seen) and not seen["step_rules"],
        what="The schedule piecewise_constant needs to know its pieces.",
        fix="Set step_rules, to 1:100,0.1 for example, or take constant.",
        mend={"lr_scheduler": "constant"},
        source=("", "missing 1 required positional argument: 'step_rules'"),
    ),
    Conflict(
        name="a schedule that follows a test loss",
        key="lr_scheduler_type",
        when=lambda seen: _type_ends(seen, "ReduceLROnPlateau"),
        what="ReduceLROnPlateau follows a test loss, and sd-scripts gives it none.",
        fix="Leave lr_scheduler_type out, and take a course such as cosine.",
        mend={"lr_scheduler_type": None},
        source=("", "missing 1 required positional argument: 'metrics'"),
    ),
    Conflict(
        name="REX without gamma",
        key="gamma",
        when=lambda seen: (
            seen["lr_scheduler_type"] in _owners.REX_AND_CAWR
            and not seen.keeps_one_rate
            and seen["gamma"] is None
        ),
        what="This schedule does not start without gamma.",
        fix="Set gamma, to 0.9 for example.",
        mend={"gamma": 0.9},
        source=("", "missing 1 required positional argument: 'gamma'"),
    ),
    Conflict(
        name="REX without the length of a round",
        key="first_cycle_max_steps",
        when=lambda seen: (
            seen["lr_scheduler_type"] in _owners.REX_AND_CAWR
            and not seen.keeps_one_rate
            and seen["first_cycle_max_steps"] is None
        ),
        what="Without it the schedule starts again at each step.",
        fix="Set it to the number of steps of the training, or of one round.",
        severity="advice",
    ),
    Conflict(
        name="a warm-up of more than the run",
        key="lr_warmup_steps",
        when=_over_one("lr_warmup_steps"),
        what="A number with a point is a share of the training, and {value} is more than all of it.",
        fix="Write a whole number for steps, or a share such as 0.05.",
        mend=_as_steps("lr_warmup_steps"),
        severity="advice",
    ),
    Conflict(
        name="a fall of more than the run",
        key="lr_decay_steps",
        when=_over_one("lr_decay_steps"),
        what="A number with a point is a share of the training, and {value} is more than all of it.",
        fix="Write a whole number for steps, or a share such as 0.2.",
        mend=_as_steps("lr_decay_steps"),
        severity="advice",
    ),
    Conflict(
        name="a polynomial fall above another rate",
        key="learning_rate",
        when=lambda seen: (
            _course("polynomial")(seen)
            and seen["unet_lr"] is not None
            and 0 < seen["learning_rate"] < seen["unet_lr"]
        ),
        what="The course polynomial ends at a share that is reckoned from this rate, and unet_lr is higher.",
        fix="Set both rates to the same number.",
        mend=lambda seen: {"learning_rate": seen["unet_lr"]},
        severity="advice",
    ),
)


def _betas(seen: Seen) -> int:
    """How many betas the optimizer takes; as many as there are where it is not known."""
    name = seen["optimizer_type"]
    if name in _owners.CAME:
        return 3
    # Those of bitsandbytes take a third one and read over it.
    strict = name in _owners.WITH_TWO_BETAS and not re.search("8bit|paged", name, re.IGNORECASE)
    return 2 if strict else len(seen["betas"])


OPTIMIZERS: Final = (
    Conflict(
        name="AdEMAMix by its short name",
        key="optimizer_type",
        when=lambda seen: str(seen["optimizer_type"]).lower() in _MIX,
        what="sd-scripts names {value} in its help and does not find it.",
        fix="Give its whole path in bitsandbytes.optim.",
        mend=lambda seen: {"optimizer_type": _MIX_PATHS[str(seen["optimizer_type"])[0].lower()]},
        source=("", "has no attribute"),
    ),
    Conflict(
        name="an optimizer that does not exist",
        key="optimizer_type",
        when=lambda seen: (
            "." not in str(seen["optimizer_type"])
            and str(seen["optimizer_type"]).lower() not in {*_OWN, *_MIX}
            and seen["optimizer_type"] not in _TORCH
        ),
        what="There is no optimizer called {value}.",
        fix="Check its spelling, capitals too, or give its whole path.",
        mend={"optimizer_type": "AdamW"},
        source=("", "has no attribute"),
    ),
    Conflict(
        name="another number of betas",
        key="betas",
        when=lambda seen: bool(seen["betas"]) and len(seen["betas"]) != _betas(seen),
        what="{value} is not as many numbers as this optimizer takes. It stops at the first step.",
        fix="Write three for CAME and two for all others, or leave betas out.",
        mend={"betas": None},
        source=("", "values to unpack"),
    ),
    Conflict(
        name="two rates for an optimizer that takes one",
        key="text_encoder_lr",
        when=lambda seen: (
            _one_rate(seen) and len({*seen.rates} - {0}) > 1 and not seen["network_train_unet_only"]
        ),
        what="This optimizer takes one rate for all parts, and stops at a second one.",
        fix="Leave the rates of the parts out, or train one part.",
        mend={"text_encoder_lr": None, "unet_lr": None},
        source=_ONE_RATE,
    ),
    Conflict(
        name="rates of parts for an optimizer that takes one",
        key="optimizer_type",
        when=lambda seen: (
            _one_rate(seen)
            and seen["network_module"] in (*_owners.WITH_BLOCKS, *_owners.WITH_LORA_PLUS)
            and bool(_split(seen))
        ),
        what="{value} takes one rate for all parts, and stops at shares of blocks and at LoRA+.",
        fix="Leave these shares out, or take AdamW.",
        mend=_split,
        source=_ONE_RATE,
    ),
    Conflict(
        name="all rates at 0",
        key="learning_rate",
        when=lambda seen: bool(seen.rates) and not any(seen.rates),
        what="All rates are 0, and sd-scripts leaves out what has no rate, so nothing is left.",
        fix="Set the learning rate, to 0.0001 for example.",
        mend={"learning_rate": 1e-4, "unet_lr": None, "text_encoder_lr": None},
        source=_EMPTY,
    ),
    Conflict(
        name="a rate below 0",
        key="text_encoder_lr",
        when=lambda seen: (
            not seen["network_train_unet_only"] and any(rate < 0 for rate in seen["text_encoder_lr"] or ())
        ),
        what="At a rate below 0 the text part unlearns, and sd-scripts does not stop at it.",
        fix="Use 0 or more.",
        mend={"text_encoder_lr": None},
        severity="advice",
    ),
    Conflict(
        name="fixed Adafactor with a limit of the step",
        key="max_grad_norm",
        when=lambda seen: (
            seen["optimizer_type"] in _owners.ADAFACTOR
            and not seen.finds_its_rate
            and seen["max_grad_norm"] != 0
        ),
        what="Adafactor limits its steps by itself, so sd-scripts asks for 0 here.",
        fix="Set it to 0.",
        mend={"max_grad_norm": 0.0},
        severity="advice",
    ),
    Conflict(
        name="D-Adaptation's package",
        key="optimizer_type",
        when=lambda seen: str(seen["optimizer_type"]).lower().startswith("dadapt"),
        what="It needs the package dadaptation, which sd-scripts does not bring along.",
        fix="Install it beside sd-scripts, or take Prodigy.",
        severity="advice",
    ),
    Conflict(
        name="a sum of steps for Adafactor's fused pass",
        key="gradient_accumulation_steps",
        when=lambda seen: (
            bool(seen.run.other.get("fused_backward_pass")) and seen["gradient_accumulation_steps"] != 1
        ),
        what="The switch fused_backward_pass takes one step at a time, and {value} are summed up here.",
        fix="Set it to 1, or leave fused_backward_pass out.",
        mend={"gradient_accumulation_steps": 1},
        source=(_TRAIN, "fused_backward_pass does not work with gradient_accumulation_steps > 1"),
    ),
    Conflict(
        name="a fused pass without Adafactor",
        key="optimizer_type",
        when=lambda seen: (
            bool(seen.run.other.get("fused_backward_pass")) and seen["optimizer_type"].lower() != "adafactor"
        ),
        what="The switch fused_backward_pass works with Adafactor only, and {value} is set.",
        fix="Leave fused_backward_pass out, or take Adafactor.",
        mend={"optimizer_type": "Adafactor", "lr_warmup_steps": 0},
        source=(_TRAIN, "fused_backward_pass currently only works with optimizer_type Adafactor"),
    ),
)

LOSSES: Final = (
    Conflict(
        name="a noise by brightness without an offset",
        key="adaptive_noise_scale",
        when=lambda seen: seen["adaptive_noise_scale"] is not None and seen["noise_offset"] is None,
        what="It changes the noise offset, and there is none.",
        fix="Set noise_offset, or leave adaptive_noise_scale out.",
        mend={"adaptive_noise_scale": None},
        source=(_TRAIN, "adaptive_noise_scale requires noise_offset"),
    ),
    Conflict(
        name="weights for v without v",
        key="scale_v_pred_loss_like_noise_pred",
        when=lambda seen: seen["scale_v_pred_loss_like_noise_pred"] and not seen["v_parameterization"],
        what="It is for base models that predict v, and v_parameterization is off.",
        fix="Turn off scale_v_pred_loss_like_noise_pred.",
        mend={"scale_v_pred_loss_like_noise_pred": False},
        source=(_TRAIN, "scale_v_pred_loss_like_noise_pred can be enabled only with v_parameterization"),
    ),
    Conflict(
        name="a loss like v beside v",
        key="v_pred_like_loss",
        when=lambda seen: bool(seen["v_pred_like_loss"]) and seen["v_parameterization"],
        what="It is for base models that predict noise, and v_parameterization is on.",
        fix="Leave v_pred_like_loss out.",
        mend={"v_pred_like_loss": None},
        source=(_TRAIN, "v_pred_like_loss cannot be enabled with v_parameterization"),
    ),
    Conflict(
        name="zero terminal SNR without v",
        key="zero_terminal_snr",
        when=lambda seen: seen["zero_terminal_snr"] and not seen["v_parameterization"],
        what="It is made for base models that predict v, and v_parameterization is off.",
        fix="Turn off zero_terminal_snr.",
        mend={"zero_terminal_snr": False},
        families=EVERY_UNET_FAMILY,
        severity="advice",
    ),
    Conflict(
        name="no noise levels left",
        key="min_timestep",
        when=lambda seen: (seen["min_timestep"] or 0) >= (seen["max_timestep"] or 1000),
        what="The least noise is not below the most noise, so one single level is trained.",
        fix="Lower min_timestep, or raise max_timestep.",
        mend={"min_timestep": None, "max_timestep": None},
        families=(*EVERY_UNET_FAMILY, "sd3"),
        severity="advice",
    ),
    Conflict(
        name="Huber by SNR on a flow",
        key="huber_schedule",
        when=lambda seen: seen["huber_schedule"] == "snr" and seen["loss_type"] in {"huber", "smooth_l1"},
        what="The course snr of Huber's rule needs noise levels that this family does not have.",
        fix="Set huber_schedule to constant or exponential.",
        mend={"huber_schedule": "constant"},
        families=FLOW_FAMILIES,
        source=(_TRAIN, "Huber schedule 'snr' is not supported with the current model"),
    ),
)
