"""What comes with a choice: the values that an optimizer, a schedule or a network needs, and what it drops.

Covered: the values to set when one of these is chosen (data, with its sources), what a setting means beside
the chosen optimizer, and the range that works with it. Not covered: which settings do nothing (see
`ignored.py`) and whole recipes (see `presets.py`).

The rates are those of section 5.3 of the product reference, for a character; its sources stand beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from lora_core.settings import _owners
from lora_core.settings._description import BUILT_IN, Advice, Setting
from lora_core.settings._owners import ValueOf, acts
from lora_core.settings.ignored import finds_its_rate, no_effect, schedule_free
from lora_core.settings.run import catalogue, setting

_DROPOUTS: Final = ("network_dropout", "rank_dropout")
_RATES: Final = ("learning_rate", "unet_lr", "text_encoder_lr")


@dataclass(frozen=True, slots=True)
class _Choice:
    """Optimizers of one kind, and what is set when one of them is chosen."""

    names: tuple[str, ...]
    rate: Decimal | None = None
    """The learning rate; None where that of AdamW serves, times `share`."""
    share: Decimal = Decimal(1)
    """What part of AdamW's rate serves."""
    values: Mapping[str, Any] = field(default_factory=dict)


_CHOICES: Final = (
    _Choice(_owners.ADAMW),
    _Choice(
        _owners.PRODIGY,
        # The library: leave the rate at 1. The schedule and no warm-up: section 5.3; arguments: section 6.
        rate=Decimal(1),
        values={
            "lr_scheduler": "cosine",
            "lr_warmup_steps": 0,
            "weight_decay": 0.01,
            "use_bias_correction": True,
            "safeguard_warmup": True,
        },
    ),
    _Choice(
        _owners.ADAFACTOR,
        # The recipe is that of sd-scripts' documentation (all three switches off, no limit of a step); the
        # rate lies between its 1e-4 and the 5e-4 of published presets (section 5.3, our own choice).
        rate=Decimal("2e-4"),
        values={
            "relative_step": False,
            "scale_parameter": False,
            "warmup_init": False,
            "lr_scheduler": "constant_with_warmup",
            "max_grad_norm": 0.0,
        },
    ),
    # A rate of 1, no limit of a step, and a course that has no effect: section 6.
    _Choice(
        _owners.PRODIGY_PLUS,
        rate=Decimal(1),
        values={"lr_scheduler": "constant", "lr_warmup_steps": 0, "max_grad_norm": 0.0},
    ),
    _Choice(_owners.D_ADAPTATION, rate=Decimal(1)),  # a rate of about 1: section 6
    # A rule of thumb: a rate 3 to 10 times lower than AdamW's (section 5.3, a third party's text).
    _Choice(_owners.LION, share=Decimal("0.2")),
    _Choice(
        _owners.CAME,
        # CAME Conservative and JUP's example: 6e-5; weight decay: section 6. Never with 5e-4.
        rate=Decimal("6e-5"),
        values={"lr_scheduler": "cosine", "weight_decay": 0.04},
    ),
    # Their course and warm-up have no effect (sd-scripts' source), so they are set to say so.
    _Choice(_owners.SCHEDULE_FREE, values={"lr_scheduler": "constant", "lr_warmup_steps": 0}),
)
_SET_BY_CHOICES: Final = tuple(
    dict.fromkeys(key for choice in _CHOICES for key in choice.values if setting(key).place == "argument")
)


def on_choice(key: str, value: Any, value_of: ValueOf) -> dict[str, Any]:
    """What else changes when `key` is set to `value`: only the settings that get another value by that.

    Ask before the choice is made: `value_of` gives the values as they are until then.
    Choosing an optimizer sets its rates and the arguments that it needs, and empties those of the one before.
    Choosing a schedule or a network drops what the new one does not own, and sets what it cannot do without.
    """
    changes: dict[str, Any] = {}
    if key == "optimizer_type":
        changes |= _of_optimizer(value, value_of)
    elif key == "lr_scheduler" and not schedule_free(value_of("optimizer_type")):
        changes |= _of_schedule(value)
    elif key == "lr_scheduler_type" and value:
        changes["lr_warmup_steps"] = 0  # sd-scripts and the built-in engine stop at a warm-up here

    def after(asked: str) -> Any:
        return value if asked == key else changes.get(asked, value_of(asked))

    for s in catalogue():
        if s.only and s.key not in changes and after(s.key) != s.default and not acts(s, after):
            changes[s.key] = s.default
    if key in {"network_module", "algo", "dora_wd"}:
        # The built-in engine stops at a dropout that the network does not have; sd-scripts reads over it.
        idle = no_effect(after, BUILT_IN, None)
        changes |= {each: None for each in _DROPOUTS if each in idle and after(each) is not None}
    return {asked: new for asked, new in changes.items() if not _same(new, value_of(asked))}


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and type(one) is type(other)


def _of_optimizer(value: Any, value_of: ValueOf) -> dict[str, Any]:
    before, now = _choice(value_of("optimizer_type")), _choice(value)
    if before is now or value_of("optimizer_type") == value:
        return {}
    changes: dict[str, Any] = {s.key: s.default for s in catalogue() if s.place == "optimizer_args"}
    for key in _SET_BY_CHOICES:
        # Only what the optimizer before had brought goes back; a schedule of one's own stays.
        if key in before.values and _same(value_of(key), before.values[key]):
            changes[key] = setting(key).default
    return changes | _rates(before, now, value_of) | dict(now.values)


def _choice(optimizer: Any) -> _Choice:
    return next((choice for choice in _CHOICES if optimizer in choice.names), _Choice(()))


def _rates(before: _Choice, now: _Choice, value_of: ValueOf) -> dict[str, Any]:
    """The three rates for the new optimizer; a rate of the text part keeps its share of the learning rate."""
    if now.rate is None and before.rate is None:
        return {key: _times(value_of(key), now.share / before.share) for key in _RATES}
    rate = now.rate or _exact(setting("learning_rate").default) * now.share
    texts = value_of("text_encoder_lr")
    used = value_of("unet_lr") or value_of("learning_rate")
    told = used and not finds_its_rate(value_of) and 1 not in {before.rate, now.rate}
    if texts and any(texts):
        # Prodigy refuses a second rate, and from its 1 no other can be told.
        texts = _times(texts, rate / _exact(used)) if told else None
    return {"learning_rate": float(rate), "unet_lr": None, "text_encoder_lr": texts}


def _exact(number: float) -> Decimal:
    return Decimal(repr(float(number)))


def _times(value: Any, factor: Decimal) -> Any:
    """A rate, or each of several, times `factor`, to three figures."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_times(each, factor) for each in value)
    return value if factor == 1 else float(f"{_exact(value) * factor:.3g}")


def _of_schedule(value: Any) -> dict[str, Any]:
    # What sd-scripts and the built-in engine refuse (sections 5 and 6 of the reference of sd-scripts): a
    # warm-up with constant, and cosine_with_min_lr without a lowest rate. The tenth is our own choice.
    if value in {"constant", "adafactor"}:
        return {"lr_warmup_steps": 0}
    if value == "cosine_with_min_lr":
        return {"lr_scheduler_min_lr_ratio": 0.1}
    if value == "warmup_stable_decay":
        return {"lr_decay_steps": 0.2}  # without a fall it would be constant_with_warmup
    return {}


def meaning(key: str, value_of: ValueOf) -> str | None:
    """What a setting does beside the chosen optimizer, where that is something else than its help says."""
    optimizer = value_of("optimizer_type")
    if key == "learning_rate" and optimizer in _owners.PRODIGY:
        return "Prodigy finds the rate by itself and multiplies it by this number. Leave it at 1."
    if key == "learning_rate" and optimizer in (*_owners.PRODIGY_PLUS, *_owners.D_ADAPTATION):
        return "This optimizer finds the rate by itself and multiplies it by this number. Leave it at 1."
    if key == "lr_scheduler" and optimizer in _owners.PRODIGY:
        return "The course multiplies the rate that Prodigy finds. Cosine is common."
    if key == "learning_rate" and finds_its_rate(value_of):
        return "Adafactor finds its own rate, so this one is not used."
    return None


def advice_for(s: Setting, value_of: ValueOf) -> Advice | None:
    """The range that works for most people with the chosen optimizer."""
    if s.key not in {"learning_rate", "unet_lr"}:
        return s.advice
    optimizer = value_of("optimizer_type")
    if optimizer in (*_owners.PRODIGY_PLUS, *_owners.D_ADAPTATION):
        return Advice(0.5, 1, "These optimizers are made for 1.")
    if optimizer in _owners.PRODIGY:
        return Advice(0.5, 1, "Prodigy is made for 1. Some recipes use 0.75.")
    if optimizer in _owners.CAME:
        return Advice(3e-5, 1e-4, "Published recipes for CAME use 0.00003 to 0.0001.")
    if optimizer in _owners.LION:
        return Advice(2e-6, 2e-4, "Lion works with a fifth of AdamW's rate or so.")
    if optimizer in _owners.SGD or optimizer in _owners.SGD_SCHEDULE_FREE:
        return None
    return s.advice
