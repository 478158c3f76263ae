"""What the built-in trainer refuses of how a run learns, before anything is loaded; loads no torch.

Covered: optimizer, schedule, noise, loss and precision, as far as they contradict each other; where
sd-scripts stops or goes on with something else than was asked for, this trainer says so. Not
covered: what depends on the machine (see `device.py`), and values that only the optimizer's package
can judge (see `schedules.try_out`).
"""

from collections.abc import Iterator
from typing import Final

from lora_core.engines.diffusers.optimizer_names import (
    ONE_RATE,
    class_path,
    finds_its_rate,
    literals,
    name_problems,
    schedule_free,
)
from lora_core.errors import LoraError, Problem, SettingsError
from lora_core.models import inspect_base
from lora_core.settings import RunConfig, arguments_of, further_arguments, typed_number


def learning_problems(run: RunConfig) -> list[Problem]:
    """Every contradiction in how `run` learns."""
    try:
        optimizer = [*name_problems(run), *_schedule(run), *_pieces(run), *_one_rate(run)]
    except SettingsError as error:  # an argument that cannot be read
        optimizer = list(error.problems)
    return [*optimizer, *_shares(run), *_noise(run), *_prediction(run), *_precision(run)]


def _schedule(run: RunConfig) -> Iterator[Problem]:
    settings = run.schedule
    own_rate = finds_its_rate(run)
    if settings.lr_warmup_steps and not schedule_free(run.optimizer.optimizer_type):
        without = None
        if settings.lr_scheduler_type:
            without = f"The schedule {settings.lr_scheduler_type}"
        elif own_rate:
            without = "Adafactor, while it finds its own rate,"
        elif settings.lr_scheduler == "constant":
            without = "The schedule constant"
        if without:
            plain = settings.lr_scheduler_type is None and not own_rate
            mend = {"lr_scheduler": "constant_with_warmup"} if plain else {"lr_warmup_steps": 0}
            yield Problem(
                setting="lr_warmup_steps",
                what=f"{without} has no warm-up.",
                fix="Set lr_scheduler to constant_with_warmup, or lr_warmup_steps to 0.",
                mend=mend,
                mend_label="Use constant_with_warmup" if plain else "Leave the warm-up out",
            )
    if settings.lr_scheduler_type or schedule_free(run.optimizer.optimizer_type):
        return
    if settings.lr_scheduler == "adafactor" and not own_rate:
        yield Problem(
            setting="lr_scheduler",
            what="The schedule adafactor is only for an Adafactor that finds its own rate.",
            fix="Set lr_scheduler to constant.",
            mend={"lr_scheduler": "constant"},
            mend_label="Use constant",
        )
    if settings.lr_scheduler == "cosine_with_min_lr" and settings.lr_scheduler_min_lr_ratio is None:
        yield Problem(
            setting="lr_scheduler_min_lr_ratio",
            what="The schedule cosine_with_min_lr needs a lowest rate.",
            fix="Set lr_scheduler_min_lr_ratio, to 0.1 for example, or lr_scheduler to cosine.",
            mend={"lr_scheduler_min_lr_ratio": 0.1},
            mend_label="Let it end at 0.1",
        )


def _pieces(run: RunConfig) -> Iterator[Problem]:
    """What a schedule must be told and is not."""
    settings = run.schedule
    if schedule_free(run.optimizer.optimizer_type):
        return
    given = arguments_of(run, "lr_scheduler_args")
    given |= literals(further_arguments(run, "lr_scheduler_args"), "lr_scheduler_args")
    name = (settings.lr_scheduler_type or "").rpartition(".")[2]
    if not name and settings.lr_scheduler == "piecewise_constant" and "step_rules" not in given:
        yield Problem(
            setting="lr_scheduler",
            what="The schedule piecewise_constant needs to know its pieces.",
            fix='Add step_rules="1:100,0.1" to lr_scheduler_args, or take constant.',
            mend={"lr_scheduler": "constant"},
            mend_label="Use constant",
        )
    if name == "ReduceLROnPlateau":
        yield Problem(
            setting="lr_scheduler_type",
            what="The schedule ReduceLROnPlateau follows a test loss, which this trainer does not.",
            fix="Leave lr_scheduler_type out, and take a course such as cosine.",
            mend={"lr_scheduler_type": None},
            mend_label="Leave lr_scheduler_type out",
        )
    own = settings.lr_scheduler_type or ""
    if name.endswith("AnnealingWarmRestarts") and "torch" not in own and "." in own:
        missing = [key for key in ("gamma", "first_cycle_max_steps") if key not in given]
        if missing:
            yield Problem(
                setting="lr_scheduler_type",
                what=f"The schedule {name} needs {' and '.join(missing)}. Without a length it starts anew "
                "at every step.",
                fix=f"Add {' and '.join(missing)} to lr_scheduler_args. The course rex is built in.",
                mend={"lr_scheduler_type": None, "lr_scheduler": "rex"},
                mend_label="Use the built-in rex",
            )


_OWN_RATES: Final = (
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
    "loraplus_lr_ratio",
    "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio",
)
"""Settings that give a part of a LoRA another rate than the rest."""


def _one_rate(run: RunConfig) -> Iterator[Problem]:
    """Prodigy and D-Adaptation find one rate for all parts, and stop at two."""
    if not class_path(run.optimizer.optimizer_type).startswith(ONE_RATE):
        return
    network, rates = run.network, set[float]()
    if not network.network_train_text_encoder_only:
        rates.add(run.optimizer.learning_rate if run.optimizer.unet_lr is None else run.optimizer.unet_lr)
    if not network.network_train_unet_only:
        text = network.text_encoder_lr or (run.optimizer.learning_rate,)
        rates |= {text[0], text[-1] if _family(run) != "sd15" else text[0]}
    name = run.optimizer.optimizer_type
    own = {key: None for key in _OWN_RATES if getattr(network, key) is not None}
    if len(rates - {0.0}) > 1 or own:
        key = "text_encoder_lr" if network.text_encoder_lr else next(iter(own), "unet_lr")
        yield Problem(
            setting=key,
            what=f"{name} takes one learning rate for all parts of the LoRA, and several are set.",
            fix="Leave LoRA+ and the rates of parts and blocks out. A rate of 0 leaves a part out.",
            mend={"unet_lr": None, "text_encoder_lr": None, **own},
            mend_label="Use one rate for all parts",
        )


def _family(run: RunConfig) -> str | None:
    try:
        return inspect_base(run.model.pretrained_model_name_or_path).family
    except LoraError:  # told by the checks of the base model
        return None


def _shares(run: RunConfig) -> Iterator[Problem]:
    for key in ("lr_warmup_steps", "lr_decay_steps"):
        value = getattr(run.schedule, key)
        if isinstance(value, float) and value > 1:
            told = typed_number(value)
            yield Problem(
                setting=key,
                what=f"A number with a point is a share of the training, and {told} is more than all of it.",
                fix="Write a whole number for steps, or a share such as 0.05.",
                mend={key: round(value)},
                mend_label=f"Take it as {round(value)} steps",
            )


def _noise(run: RunConfig) -> Iterator[Problem]:
    loss = run.loss
    if loss.adaptive_noise_scale is not None and not loss.noise_offset:
        yield Problem(
            setting="adaptive_noise_scale",
            what="It changes the noise offset, and there is none.",
            fix="Set noise_offset, or leave adaptive_noise_scale out.",
            mend={"adaptive_noise_scale": None},
            mend_label="Leave adaptive_noise_scale out",
        )
    lowest, highest = loss.min_timestep or 0, 1000 if loss.max_timestep is None else loss.max_timestep
    if lowest >= highest:
        yield Problem(
            setting="min_timestep",
            what=f"The least noise, {lowest}, is not below the most noise, {highest}.",
            fix="Lower min_timestep, or raise max_timestep.",
            mend={"min_timestep": None, "max_timestep": None},
            mend_label="Train at all noise levels",
        )


def _prediction(run: RunConfig) -> Iterator[Problem]:
    wanted = {
        "scale_v_pred_loss_like_noise_pred": (run.loss.scale_v_pred_loss_like_noise_pred, True),
        "v_pred_like_loss": (run.loss.v_pred_like_loss, False),
    }
    for key, (value, for_v) in wanted.items():
        if value and _predicts_v(run) != for_v:
            kind = "predict v" if for_v else "predict noise"
            yield Problem(
                setting=key,
                what=f"It is for base models that {kind}, and this one does not.",
                fix=f"Leave {key} out.",
                mend={key: False if for_v else None},
                mend_label=f"Leave {key} out",
            )


def _predicts_v(run: RunConfig) -> bool:
    try:
        found = inspect_base(run.model.pretrained_model_name_or_path)
    except LoraError:  # told by the checks of the base model
        return run.model.v_parameterization
    return found.predicts_v or run.model.v_parameterization


def _precision(run: RunConfig) -> Iterator[Problem]:
    if run.precision.fp8_base and run.precision.mixed_precision == "no":
        yield Problem(
            setting="fp8_base",
            what="A base model in 8 bits is worked with in 16 bits, and the precision is not.",
            fix="Set mixed_precision to bf16, or turn fp8_base off.",
            mend={"mixed_precision": "bf16"},
            mend_label="Use bf16",
        )
