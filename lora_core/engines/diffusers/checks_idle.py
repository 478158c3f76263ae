"""What the built-in trainer takes and does not use, and what others learned the hard way; all of it advice.

Covered: rates and schedules that an optimizer overrules, rates that an optimizer means otherwise, noise
and weights that answer each other, flags that disagree with the base model. Loads no torch. Not covered:
what stops a run (see the other checks), and the images (see `lora_core.planning`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lora_core.engines.diffusers.optimizer_names import (
    ONE_RATE,
    class_path,
    finds_its_rate,
    schedule_free,
)
from lora_core.errors import LoraError, Problem, SettingsError
from lora_core.models import BaseModel, inspect_base
from lora_core.settings import RunConfig, catalogue, setting, typed_number
from lora_core.settings.concern_network import LYCORIS

_LEAST_MULTIPLIER: Final = 0.1
"""Prodigy and D-Adaptation take the learning rate as a factor, so about 1 is meant."""
_MOST_CAME: Final = 2e-4
_CAME: Final = 6e-5
_MOST_LOHA: Final = 32
_LEAST_SDXL: Final = 768
"""Pixels of the short side. SDXL was made for 1024, and the tightest recipes go down to this."""


def idle_problems(run: RunConfig) -> list[Problem]:
    """Advice about settings that would not do what they seem to do."""
    return [*_optimizer(run), *_rates(run), *_noise(run), *_network(run), *_base(run)]


def _advice(key: str, what: str, fix: str, mend: Mapping[str, Any], label: str) -> Problem:
    known = {s.key for s in catalogue()}
    if not mend.keys() <= known:  # a setting that only stands in a list of arguments
        mend, label = {}, ""
    return Problem(setting=key, what=what, fix=fix, severity="advice", mend=mend, mend_label=label)


def _optimizer(run: RunConfig) -> Iterator[Problem]:
    name, schedule = run.optimizer.optimizer_type, run.schedule
    if name.endswith("ProdigyPlusScheduleFree") and run.optimizer.max_grad_norm:
        yield _advice(
            "max_grad_norm",
            f"{name} holds its steps back by itself, and a limit disturbs it.",
            "Set it to 0.",
            {"max_grad_norm": 0.0},
            "Set it to 0",
        )
    if schedule_free(name):
        if schedule.lr_scheduler != "constant" or schedule.lr_warmup_steps or schedule.lr_scheduler_type:
            yield _advice(
                "lr_scheduler",
                f"{name} needs no course of the rate and no warm-up, so none is used.",
                "Set lr_scheduler to constant and lr_warmup_steps to 0, so that you see what is done.",
                {"lr_scheduler": "constant", "lr_warmup_steps": 0, "lr_scheduler_type": None},
                "Use constant",
            )
        return
    try:
        own = finds_its_rate(run)
    except SettingsError:  # told where optimizer arguments are read
        return
    if own:
        yield _advice(
            "optimizer_type",
            "Adafactor finds its own rate here, so the learning rates and the course are not used.",
            "Add relative_step=False to optimizer_args to use them.",
            {"relative_step": False},
            "Use the learning rates",
        )


def _rates(run: RunConfig) -> Iterator[Problem]:
    optimizer, network = run.optimizer, run.network
    path = class_path(optimizer.optimizer_type)
    if path.startswith(ONE_RATE) or "prodigy" in path.lower():
        low = {
            key: 1.0 if key == "learning_rate" else None
            for key in ("learning_rate", "unet_lr")
            if (value := getattr(optimizer, key)) and value < _LEAST_MULTIPLIER
        }
        if low:
            yield _advice(
                next(iter(low)),
                f"{optimizer.optimizer_type} finds the rate by itself and multiplies it by this one.",
                "Set it to 1.",
                {"learning_rate": 1.0, **low},
                "Set it to 1",
            )
    elif path.endswith(".CAME"):
        key = "learning_rate" if optimizer.unet_lr is None else "unet_lr"
        if (rate := getattr(optimizer, key)) > _MOST_CAME:
            what = f"CAME learns fast: at {typed_number(rate)} trainings were seen to break."
            fix = f"Set it to {typed_number(_CAME)}"
            yield _advice(key, what, f"{fix}.", {key: _CAME}, fix)
    rates = []
    if not network.network_train_text_encoder_only:
        rates.append(optimizer.learning_rate if optimizer.unet_lr is None else optimizer.unet_lr)
    if not network.network_train_unet_only:
        rates += network.text_encoder_lr or (optimizer.learning_rate,)
    if rates and not any(rates):
        default = setting("learning_rate").default
        yield _advice(
            "learning_rate",
            "All rates are 0, so nothing is learned.",
            f"Set the learning rate, to {typed_number(default)} for example.",
            {"learning_rate": default, "unet_lr": None, "text_encoder_lr": None},
            f"Set it to {typed_number(default)}",
        )


def _noise(run: RunConfig) -> Iterator[Problem]:
    loss = run.loss
    if loss.min_snr_gamma is not None and loss.debiased_estimation_loss:
        yield _advice(
            "debiased_estimation_loss",
            "It and min_snr_gamma both weigh the noise levels, and they multiply.",
            "Use one of the two.",
            {"debiased_estimation_loss": False},
            "Turn off debiased_estimation_loss",
        )
    if loss.noise_offset and loss.multires_noise_iterations:
        yield _advice(
            "multires_noise_iterations",
            "It and noise_offset both change the coarse noise, and they add up.",
            "Use one of the two.",
            {"multires_noise_iterations": None},
            "Leave multires_noise_iterations out",
        )
    needed = {
        "noise_offset_random_strength": ("noise_offset", loss.noise_offset),
        "ip_noise_gamma_random_strength": ("ip_noise_gamma", loss.ip_noise_gamma),
    }
    for key, (other, value) in needed.items():
        if getattr(loss, key) and not value:
            what = f"It does nothing, because {other} is not set."
            yield _advice(key, what, f"Set {other}, or turn this off.", {key: False}, f"Turn off {key}")
    schedule = run.schedule
    if schedule.lr_scheduler == "warmup_stable_decay" and not (
        schedule.lr_decay_steps or schedule.lr_scheduler_type
    ):
        yield _advice(
            "lr_decay_steps",
            "The course warmup_stable_decay has no time for its fall, so the rate never sinks.",
            "Set lr_decay_steps, to 0.2 for example.",
            {"lr_decay_steps": 0.2},
            "Let it fall in the last fifth",
        )


def _network(run: RunConfig) -> Iterator[Problem]:
    network = run.network
    if network.network_module == LYCORIS and network.algo == "loha" and network.network_dim > _MOST_LOHA:
        yield _advice(
            "network_dim",
            f"LoHa holds more at the same rank, and above {_MOST_LOHA} it was seen to break.",
            f"Set it to {_MOST_LOHA} or less.",
            {"network_dim": _MOST_LOHA},
            f"Set it to {_MOST_LOHA}",
        )


def _base(run: RunConfig) -> Iterator[Problem]:
    try:
        base = inspect_base(run.model.pretrained_model_name_or_path)
    except LoraError:  # told by the checks of the base model
        return
    model = run.model
    if model.v_parameterization and not base.predicts_v:
        yield _advice(
            "v_parameterization",
            f"The files of {base.name} do not say that it predicts v. If it does not, only noise is learned.",
            "Turn it off, unless the page of the model says v-prediction.",
            {"v_parameterization": False},
            "Turn it off",
        )
    if model.zero_terminal_snr and not (model.v_parameterization or base.predicts_v):
        yield _advice(
            "zero_terminal_snr",
            "It is made for base models that predict v, and this one does not.",
            "Turn it off.",
            {"zero_terminal_snr": False},
            "Turn it off",
        )
    yield from _sdxl(run, base)


def _sdxl(run: RunConfig, base: BaseModel) -> Iterator[Problem]:
    if base.family != "sdxl":
        return
    if run.precision.mixed_precision == "fp16" and not run.model.no_half_vae:
        yield _advice(
            "no_half_vae",
            "The VAE of SDXL gives no numbers in fp16.",
            "Turn on no_half_vae.",
            {"no_half_vae": True},
            "Turn on no_half_vae",
        )
    shortest = min(min(dataset.resolution) for dataset in run.dataset.datasets)
    if shortest < _LEAST_SDXL:
        yield _advice(
            "resolution",
            f"SDXL was made for 1024 pixels, and here a side has {shortest}.",
            "Set it to 1024, or to 768 if memory is short.",
            {"resolution": (1024, 1024), "max_bucket_reso": 2048},
            "Set it to 1024",
        )
