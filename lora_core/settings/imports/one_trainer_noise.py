"""How OneTrainer draws noise levels, in the words of sd-scripts.

Covered: families that learn a flow, where most ways have a name here; for the others, whether it is the one
way that they have. Not covered: masks of OneTrainer, and families that sd-scripts does not train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lora_core.settings._description import FLOW_FAMILIES
from lora_core.settings.imports._gather import Gathering

_EVENLY: Final[Mapping[str, Any]] = {"timestep_distribution": "UNIFORM"}
FLOW_STARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "flux1": {**_EVENLY, "transformer.guidance_scale": 1.0},
    "chroma": _EVENLY,
    "anima": _EVENLY,
    "sd3": _EVENLY,
}
"""What OneTrainer takes for a family that learns a flow, where a file does not say it."""
_SHIFTED_BY_SIZE: Final = ("flux1", "chroma")
"""Families whose shift by the size of a picture is the same here."""
_RESTING: Final[Mapping[str, Any]] = {
    "timestep_distribution": "UNIFORM",
    "timestep_shift": 1.0,
    "dynamic_timestep_shifting": False,
    "noising_weight": 0.0,
    "noising_bias": 0.0,
}
_CALLED: Final = "sd-scripts calls it {}."
_WIDER: Final = "The spread is one more than it, and sd-scripts calls it {}."


@dataclass(frozen=True, slots=True)
class _Noise:
    """What a file says about noise levels."""

    kind: str
    weight: float
    bias: float
    shift: float
    moved: bool
    """Shifted by the size of each picture."""


def take_noise(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    """Take how noise levels are drawn; the keys that were looked at."""
    noise = _Noise(
        kind=str(flat.get("timestep_distribution", "UNIFORM")),
        weight=_number(flat.get("noising_weight"), 0.0),
        bias=_number(flat.get("noising_bias"), 0.0),
        shift=_number(flat.get("timestep_shift"), 1.0),
        moved=flat.get("dynamic_timestep_shifting") is True,
    )
    told: set[str] = set()
    if gathering.family == "sd3":
        told = _of_sd3(gathering, noise)
    elif gathering.family in FLOW_FAMILIES:
        told = _of_flow(gathering, noise, flat)
        _learned(gathering)
    for key in sorted(_RESTING.keys() & flat.keys() - told):
        if flat[key] == _RESTING[key]:
            gathering.ignore(key, flat[key], "It is off there, or it is so here, too.")
        else:
            gathering.left(key, flat[key], "This app draws no noise levels in this way.")
    return set(_RESTING)


def _number(value: Any, resting: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else resting


def _of_flow(gathering: Gathering, noise: _Noise, flat: Mapping[str, Any]) -> set[str]:
    """Take the way of FLUX, Chroma and Anima; the keys that were taken or named."""
    way = None
    if noise.kind == "UNIFORM" and noise.shift == 1 and not noise.moved:
        way = "uniform"
    elif noise.kind == "LOGIT_NORMAL" and not noise.bias and noise.moved:
        way = "flux_shift" if gathering.family in _SHIFTED_BY_SIZE else None
    elif noise.kind == "LOGIT_NORMAL" and not noise.bias:
        way = "sigmoid" if noise.shift == 1 else "shift"
    if way is None:
        return set()
    key = "timestep_distribution"
    reason = _CALLED.format("timestep_sampling")
    gathering.take(key, "timestep_sampling", way, was=noise.kind, reason=reason)
    told = {key}
    if noise.moved:
        for key in {"dynamic_timestep_shifting", "timestep_shift"} & flat.keys():
            gathering.ignore(
                key, flat[key], "The size of each picture decides the shift: that is flux_shift."
            )
            told.add(key)
    if way == "shift":
        reason = _CALLED.format("discrete_flow_shift")
        gathering.take("timestep_shift", "discrete_flow_shift", noise.shift, reason=reason)
        told.add("timestep_shift")
    if noise.weight and way != "uniform":
        reason, spread = _WIDER.format("sigmoid_scale"), noise.weight + 1
        gathering.take("noising_weight", "sigmoid_scale", spread, was=noise.weight, reason=reason)
        told.add("noising_weight")
    return told


def _learned(gathering: Gathering) -> None:
    """Take what OneTrainer does for these families and gives no name."""
    if gathering.family in _SHIFTED_BY_SIZE:
        key = "model_prediction_type"
        gathering.assumed[key] = "OneTrainer has this one way."
        gathering.take(key, key, "raw")


def _of_sd3(gathering: Gathering, noise: _Noise) -> set[str]:
    """Take the way of SD3; the keys that were taken."""
    scheme = {"UNIFORM": "uniform", "LOGIT_NORMAL": "logit_normal"}.get(noise.kind)
    if scheme is None or noise.moved:
        return set()
    rows: list[tuple[str, str, Any, Any]] = [
        ("timestep_distribution", "weighting_scheme", scheme, noise.kind),
        ("timestep_shift", "training_shift", noise.shift, noise.shift),
    ]
    if scheme == "logit_normal":
        rows += [
            ("noising_weight", "logit_std", noise.weight + 1, noise.weight),
            ("noising_bias", "logit_mean", noise.bias, noise.bias),
        ]
    told = set()
    for key, ours, value, was in rows:
        if was != _RESTING[key] or key == "timestep_distribution":
            reason = (_WIDER if key == "noising_weight" else _CALLED).format(ours)
            gathering.take(key, ours, value, was=was, reason=reason)
            told.add(key)
    return told
