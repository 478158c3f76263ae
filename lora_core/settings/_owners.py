"""Who owns which settings: optimizers, schedules and networks by what they take, and how that is told.

Covered: groups of names for `Setting.only`, and whether a setting acts beside the others. Not covered:
settings that an engine takes and then ignores (see `ignored.py`). The groups follow the signatures of
torch 2, prodigyopt 1.1, lion-pytorch 0.2, came-pytorch 0.1, schedulefree 1.4, transformers' Adafactor,
lycoris-lora 4.1 and the networks of sd-scripts at 48d368f; a test compares them with what is installed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from lora_core.settings._description import Setting

ANY_OTHER: Final = "any other"
"""Among the values of `Setting.only`: every value of which it is not known what it takes."""
LISTS: Final = ("network_args", "optimizer_args", "lr_scheduler_args")
"""The places that are lists of `key=value`; a setting in one of them is written only where it acts."""

_ADAMW_8BIT: Final = ("AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit")
ADAMW: Final = ("AdamW", "torch.optim.AdamW", *_ADAMW_8BIT, *(f"bitsandbytes.optim.{n}" for n in _ADAMW_8BIT))
LION: Final = (
    "Lion",
    "lion_pytorch.Lion",
    "Lion8bit",
    "PagedLion8bit",
    "bitsandbytes.optim.Lion8bit",
    "bitsandbytes.optim.PagedLion8bit",
)
PLAIN_LION: Final = LION[:2]
PRODIGY: Final = ("Prodigy", "prodigyopt.Prodigy")
ADAFACTOR: Final = ("Adafactor", "transformers.optimization.Adafactor", "transformers.Adafactor")
CAME: Final = (
    "came_pytorch.CAME",
    "came_pytorch.CAME.CAME",
    "pytorch_optimizer.CAME",
    "LoraEasyCustomOptimizer.came.CAME",
)
CAME_WITH_TWO_EPS: Final = CAME[2:]
"""The packages whose CAME names its two small numbers apart; none of them has an `eps` of one number."""
ADAMW_SCHEDULE_FREE: Final = ("AdamWScheduleFree", "schedulefree.AdamWScheduleFree")
RADAM_SCHEDULE_FREE: Final = ("RAdamScheduleFree", "schedulefree.RAdamScheduleFree")
SGD_SCHEDULE_FREE: Final = ("SGDScheduleFree", "schedulefree.SGDScheduleFree")
SCHEDULE_FREE: Final = (*ADAMW_SCHEDULE_FREE, *RADAM_SCHEDULE_FREE, *SGD_SCHEDULE_FREE)
PRODIGY_PLUS: Final = ("prodigyplus.ProdigyPlusScheduleFree",)
D_ADAPTATION: Final = tuple(
    f"DAdapt{name}" for name in ("ation", "AdamPreprint", "AdaGrad", "Adam", "Adan", "AdanIP", "Lion", "SGD")
)
"""Optimizers of sd-scripts that find their rate, too; what they take is not described here."""
NESTEROV: Final = ("SGDNesterov", "SGDNesterov8bit")


def torch_names(*names: str) -> tuple[str, ...]:
    """Optimizers of torch, by their names and by their paths."""
    return (*names, *(f"torch.optim.{name}" for name in names))


SGD: Final = (*torch_names("SGD"), *NESTEROV)
WITH_TWO_BETAS: Final = (
    *ADAMW,
    *LION,
    *PRODIGY,
    *ADAMW_SCHEDULE_FREE,
    *RADAM_SCHEDULE_FREE,
    *torch_names("Adam", "Adamax", "NAdam", "RAdam"),
)
WITH_BETAS: Final = (*WITH_TWO_BETAS, *CAME, ANY_OTHER)
WITH_EPS: Final = (
    *ADAMW,
    *PRODIGY,
    *ADAMW_SCHEDULE_FREE,
    *RADAM_SCHEDULE_FREE,
    *torch_names("Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta"),
    ANY_OTHER,
)
"""Those with one such number. Adafactor and CAME take two, as a pair or by other names."""

PLAIN: Final = "networks.lora"
LYCORIS: Final = "lycoris.kohya"
"""The `network_module` that builds LoHa, LoKr and DoRA."""
LORA_FA: Final = "networks.lora_fa"
DYLORA: Final = "networks.dylora"
OFT: Final = "networks.oft"
FLUX: Final = "networks.lora_flux"
OFT_FLUX: Final = "networks.oft_flux"
SD3: Final = "networks.lora_sd3"
LUMINA: Final = "networks.lora_lumina"
HUNYUAN: Final = "networks.lora_hunyuan_image"
ANIMA: Final = "networks.lora_anima"
OF_FAMILIES: Final = (FLUX, SD3, LUMINA, HUNYUAN, ANIMA)
"""Plain LoRAs of single families."""
NETWORKS: Final = (PLAIN, LYCORIS, LORA_FA, DYLORA, OFT, *OF_FAMILIES, OFT_FLUX)
WITH_CONVOLUTIONS: Final = (PLAIN, LYCORIS, LORA_FA, DYLORA, FLUX, SD3, LUMINA, HUNYUAN, ANY_OTHER)
WITH_DROPOUTS: Final = (PLAIN, LYCORIS, LORA_FA, *OF_FAMILIES, ANY_OTHER)
WITH_BLOCKS: Final = (PLAIN, LORA_FA)
WITH_LORA_PLUS: Final = (PLAIN, DYLORA, LYCORIS, *OF_FAMILIES)
WITH_NORMS: Final = (PLAIN, LYCORIS, LORA_FA, FLUX, SD3, LUMINA, ANIMA)
"""Networks that can be held below a size; sd-scripts warns about the others and goes on."""

REX_AND_CAWR: Final = tuple(
    f"LoraEasyCustomOptimizer.{name}.{name}"
    for name in ("RexAnnealingWarmRestarts", "CosineAnnealingWarmRestarts")
)
"""Two schedules of a package that recipes for sd-scripts name."""


def torch_schedules(*names: str) -> tuple[str, ...]:
    """Schedules of torch, by their names and by their paths."""
    return (*names, *(f"torch.optim.lr_scheduler.{name}" for name in names))


_TORCH: Final = torch_names(
    "ASGD", "Adadelta", "Adagrad", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"
)
_TORCH_SCHEDULES: Final = torch_schedules(
    "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"
)
_KNOWN: Final[Mapping[str, frozenset[Any]]] = {
    "optimizer_type": frozenset({*ADAMW, *LION, *PRODIGY, *ADAFACTOR, *CAME, *SCHEDULE_FREE, *SGD, *_TORCH}),
    "network_module": frozenset(NETWORKS),
    "lr_scheduler_type": frozenset({None, "", *REX_AND_CAWR, *_TORCH_SCHEDULES}),
}
"""Those of which it is known what they take; any other may take arguments by the same names."""
WITH_DECAY: Final = (*sorted(_KNOWN["optimizer_type"] - {*torch_names("Rprop")}), ANY_OTHER)
"""All but Rprop, whose steps know the sign of the gradient alone."""

ValueOf = Callable[[str], Any]
"""The value that a setting has now, by its key."""


def acts(setting: Setting, value_of: ValueOf) -> bool:
    """True where each setting that `setting` depends on has one of the values that it acts with."""
    return all(takes(setting, key, value_of(key)) for key in setting.only)


def takes(setting: Setting, key: str, value: Any) -> bool:
    """True where `setting`, which depends on `key`, acts with this value of it."""
    values = setting.only[key]
    return value in values or (ANY_OTHER in values and not is_known(key, value))


def is_known(key: str, value: Any) -> bool:
    """True for an optimizer, schedule or network of which it is known what it takes."""
    return key not in _KNOWN or value in _KNOWN[key]
