"""Which settings do nothing beside the others, and why, in one sentence each.

Covered: what belongs to another optimizer, schedule, network, family or engine than the chosen one; what an
engine takes and then ignores (data, read in sd-scripts at 48d368f and held against it by tests); what a form
should show; values that stand in a run and do nothing. Not covered: what comes with a choice (see
`choices.py`) and what an engine refuses (see `lora_core.planning`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from lora_core.errors import Problem
from lora_core.settings import _owners, known
from lora_core.settings._description import Setting
from lora_core.settings._owners import ANY_OTHER, LISTS, ValueOf, acts
from lora_core.settings._rule import Look, Rule
from lora_core.settings.ignored_by_sd_scripts import OF_SD_SCRIPTS
from lora_core.settings.run import RunConfig, catalogue, placed_values, setting, value_in

_COURSE_DETAILS: Final = (
    "lr_decay_steps",
    "lr_scheduler_num_cycles",
    "lr_scheduler_power",
    "lr_scheduler_timescale",
    "lr_scheduler_min_lr_ratio",
)
_LORA_PLUS: Final = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_WITH_HALVES: Final = ("lora", "locon")
"""Methods of LyCORIS whose layers are a down and an up half, as LoRA+ needs them."""
_COURSE: Final = ("lr_scheduler", "lr_scheduler_type", "lr_warmup_steps", *_COURSE_DETAILS)
_OF_COURSES: Final = tuple(s.key for s in catalogue() if s.place == "lr_scheduler_args")


def schedule_free(optimizer: Any) -> bool:
    """True for an optimizer that keeps one rate. sd-scripts knows them by their name, as does this app."""
    return str(optimizer).lower().endswith("schedulefree")


def finds_its_rate(value_of: ValueOf) -> bool:
    """True for an Adafactor that sets its own rate."""
    return value_of("optimizer_type") in _owners.ADAFACTOR and bool(
        value_of("relative_step") or value_of("warmup_init")
    )


def _rates_of_their_own(look: Look) -> bool:
    """True where no part that is trained falls back on the one rate, and no course looks at it."""
    if look["lr_scheduler_type"] or look["lr_scheduler"] in {"polynomial", "adafactor"}:
        return False
    text_alone = look["network_train_text_encoder_only"] and not look["network_train_unet_only"]
    image = look["unet_lr"] is not None or bool(text_alone)
    return image and bool(look["network_train_unet_only"] or look["text_encoder_lr"])


def _no_prompts(look: Look) -> bool:
    return not look["sample_prompts"]


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        ("clip_skip",),
        lambda look: look.family == "sdxl",
        "SDXL always takes the same layers of its text encoders.",
    ),
    Rule(
        (*_COURSE, *_OF_COURSES),
        lambda look: schedule_free(look["optimizer_type"]),
        "A schedule-free optimizer keeps one rate, so no course of it is used.",
    ),
    Rule(
        ("learning_rate", "unet_lr", "text_encoder_lr", *_LORA_PLUS, *_COURSE, *_OF_COURSES),
        lambda look: finds_its_rate(look.value_of),
        "Adafactor finds its own rate, so yours and its course are not used.",
    ),
    Rule(
        ("learning_rate",),
        _rates_of_their_own,
        "Each part that is trained has a rate of its own.",
    ),
    Rule(
        ("lr_scheduler", *_COURSE_DETAILS),
        lambda look: bool(look["lr_scheduler_type"]),
        "Another course of the rate is named, and it is used in place of this.",
    ),
    Rule(
        ("lr_warmup_steps",),
        # A warm-up that is set stops the run with these, so its field must stay in sight.
        lambda look: (
            not look["lr_warmup_steps"]
            and (bool(look["lr_scheduler_type"]) or look["lr_scheduler"] in {"constant", "adafactor"})
        ),
        "This course of the rate has no warm-up.",
    ),
    Rule(
        ("lr_warmup_steps",),
        lambda look: look["lr_scheduler"] == "piecewise_constant" and not look["lr_scheduler_type"],
        "A course in pieces has no warm-up.",
    ),
    Rule(
        ("max_train_steps",),
        lambda look: bool(look["max_train_epochs"]),
        "A number of epochs is set, and it is used in place of the steps.",
    ),
    Rule(
        ("sample_every_n_steps",),
        lambda look: bool(look["sample_every_n_epochs"]),
        "Samples are drawn by epochs.",
    ),
    Rule(("sample_sampler",), _no_prompts, "There are no prompts, so no samples are drawn."),
    Rule(
        ("save_last_n_epochs", "save_last_n_epochs_state"),
        lambda look: not look["save_every_n_epochs"] and not look["save_n_epoch_ratio"],
        "No files are saved by epochs.",
    ),
    Rule(
        ("save_last_n_steps", "save_last_n_steps_state"),
        lambda look: not look["save_every_n_steps"],
        "No files are saved by steps.",
    ),
    Rule(
        ("validation_seed", "validate_every_n_epochs", "validate_every_n_steps", "max_validation_steps"),
        lambda look: not look["validation_split"],
        "No images are held back for tests.",
    ),
    Rule(
        ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale"),
        lambda look: not look["enable_bucket"],
        "Images are not sorted into buckets.",
    ),
    Rule(
        ("min_bucket_reso", "max_bucket_reso"),
        lambda look: bool(look["bucket_no_upscale"]),
        "Images are never enlarged, so each keeps its own shape and these do not decide it.",
    ),
    Rule(
        ("keep_tokens",),
        lambda look: (
            not look["shuffle_caption"]
            and not look["caption_tag_dropout_rate"]
            and not look["token_warmup_step"]
        ),
        "Tags are neither shuffled nor left out, so all of them stay where they are.",
    ),
    Rule(
        ("token_warmup_min",),
        lambda look: not look["token_warmup_step"],
        "The number of tags does not grow.",
    ),
    Rule(
        ("prior_loss_weight",),
        lambda look: not look["is_reg"],
        "No folder is marked as images of the class.",
    ),
    Rule(
        ("huber_schedule", "huber_c", "huber_scale"),
        lambda look: look["loss_type"] not in {"huber", "smooth_l1"},
        "Mistakes are not measured by Huber's rule.",
    ),
    Rule(
        ("huber_scale",),
        lambda look: look["huber_schedule"] == "snr",
        "The course snr does not use a scale.",
    ),
    Rule(
        ("noise_offset_random_strength",),
        lambda look: not look["noise_offset"],
        "There is no noise offset.",
    ),
    Rule(
        ("multires_noise_discount",),
        lambda look: not look["multires_noise_iterations"],
        "There are no layers of coarse noise.",
    ),
    Rule(
        ("text_encoder_lr",),
        lambda look: bool(look["network_train_unet_only"]),
        "Only the image part is trained.",
    ),
    Rule(
        ("loraplus_text_encoder_lr_ratio",),
        lambda look: bool(look["network_train_unet_only"]),
        "Only the image part is trained.",
    ),
    Rule(
        _LORA_PLUS,
        lambda look: look["network_module"] == _owners.LYCORIS and look["algo"] not in _WITH_HALVES,
        "Layers of this method have no two halves, so none learns faster.",
    ),
    Rule(
        ("unet_lr", "loraplus_unet_lr_ratio"),
        lambda look: bool(look["network_train_text_encoder_only"]) and not look["network_train_unet_only"],
        "Only the text part is trained.",
    ),
    Rule(
        ("conv_alpha",),
        lambda look: look["conv_dim"] is None and look["network_module"] != _owners.LYCORIS,
        "The larger image filters are not trained.",
    ),
    Rule(
        ("dim_from_weights",),
        lambda look: look["network_weights"] is None,
        "There is no LoRA to go on from.",
    ),
    Rule(
        ("network_dim", "network_alpha", "conv_dim", "conv_alpha", "use_scalar"),
        lambda look: bool(look["dim_from_weights"]) and look["network_weights"] is not None,
        "The shape is taken from the LoRA to go on from.",
    ),
    Rule(
        ("base_weights_multiplier",),
        lambda look: not look["base_weights"],
        "No LoRA is built in.",
    ),
    Rule(
        ("network_dropout",),
        # LyCORIS builds no such dropout for these (lycoris-lora 4.1.3).
        lambda look: (
            look["network_module"] == _owners.LYCORIS
            and (bool(look["dora_wd"]) or look["algo"] in {"loha", "lokr"})
        ),
        "LyCORIS has no such dropout for this method.",
    ),
    Rule(
        ("rank_dropout",),
        lambda look: look["network_module"] == _owners.LYCORIS and look["algo"] == "lokr",
        "LyCORIS does not use it for LoKr.",
    ),
    Rule(
        ("sdpa", "xformers"),
        lambda look: bool(look["mem_eff_attn"]),
        "Attention in small pieces is on, and it is used in place of this.",
    ),
    Rule(
        ("sdpa",),
        lambda look: bool(look["xformers"]),
        "The attention of xformers is used in place of this.",
    ),
    Rule(
        ("persistent_data_loader_workers",),
        lambda look: not look["max_data_loader_n_workers"],
        "There are no helpers that read images.",
    ),
    Rule(
        ("initial_epoch",),
        lambda look: look["initial_step"] is not None,
        "The first step is set, and it is used in place of this.",
    ),
    Rule(
        ("skip_until_initial_step",),
        lambda look: not look["initial_step"] and (look["initial_epoch"] or 1) == 1,
        "The training begins at its first step.",
    ),
    Rule(
        ("no_half_vae",),
        lambda look: look["mixed_precision"] == "no",
        "All numbers are kept in full.",
    ),
    *OF_SD_SCRIPTS,
)
"""Settings that are taken and then ignored; for sd-scripts, those of section 8.2 of the product reference."""


def no_effect(value_of: ValueOf, engine: str, family: str | None) -> dict[str, str]:
    """The settings that do nothing beside the others now: key -> why, in one sentence.

    `family` is that of the base model; None while none is chosen.
    """
    look = Look(value_of, engine, family)
    found: dict[str, str] = {}
    for rule in RULES:
        if (not rule.engines or engine in rule.engines) and rule.when(look):
            for key in rule.keys:
                found.setdefault(key, rule.why)
    for s in catalogue():
        if engine not in s.engines:
            found.setdefault(s.key, "This engine does not have it.")
        elif family is not None and family not in s.families:
            found.setdefault(s.key, "Base models of this family do not use it.")
        elif not acts(s, value_of):
            found.setdefault(s.key, _belongs(s, value_of))
    return found


def shown_settings(value_of: ValueOf, engine: str, family: str | None) -> list[Setting]:
    """What a form should show now: what engine and family have, and what the chosen types own."""
    return [
        s
        for s in catalogue()
        if engine in s.engines and (family is None or family in s.families) and acts(s, value_of)
    ]


def owned_by(key: str, value: Any) -> list[Setting]:
    """The settings that act with this value of `key` and not with every other, in the order of forms."""
    return [s for s in catalogue() if key in s.only and _owners.takes(s, key, value)]


def _belongs(s: Setting, value_of: ValueOf) -> str:
    """Why a setting that another choice owns does nothing: whose it is, or what it waits for."""
    for key, values in s.only.items():
        if not _owners.takes(s, key, value_of(key)):
            names = list(
                dict.fromkeys(_plain(value) for value in values if value not in {ANY_OTHER, None, ""})
            )
            label = setting(key).label
            if values == (True,):
                return f"It waits for the setting “{label}”, which is off."
            if not names:
                return f"It acts only while the setting “{label}” is empty."
            some = ", ".join(names[:4]) + (" and a few more" if len(names) > 4 else "")
            return f"It belongs to {some}. See the setting “{label}”."
    return ""


def _plain(value: Any) -> str:
    """The name of a type without its path, which is one of several that may stand for it."""
    text = str(value)
    return text if text.startswith(("networks.", "lycoris.")) else text.rpartition(".")[2]


def idle(run: RunConfig) -> list[Problem]:
    """Values of `run` that do nothing because another optimizer, schedule or network owns them.

    An optimizer and a schedule stop at an argument that is not theirs; a network reads over it.
    """
    value_of = value_in(run)
    problems = [
        _nothing_here(placed.setting, value_of)
        for placed in placed_values(run)
        if placed.setting.only and placed.value != placed.setting.default
        if not acts(placed.setting, value_of)
    ]
    for place in LISTS:
        for item in run.other.get(place, ()):
            problems += _not_its_own(place, item, value_of)
    kept = [run.other, *(dataset.other for dataset in run.dataset.datasets)]
    problems += [_never_used(key) for other in kept for key in other if key in known.DOES_NOTHING]
    return list(dict.fromkeys(problems))


_OTHER_KIND: Final[Mapping[str, Mapping[str, Any]]] = {"dora_wd": {"network_module": "lycoris.kohya"}}
"""Settings that ask for another kind of file, with the choice that gives it. Who asks for DoRA must not
get a plain LoRA with a remark."""


def _never_used(key: str) -> Problem:
    what = f"It does nothing. {known.DOES_NOTHING[key]}"
    return Problem(setting=key, what=what, fix=f"Leave {key} out.", severity="advice")


def _nothing_here(s: Setting, value_of: ValueOf) -> Problem:
    what, fix = f"It does nothing here. {_belongs(s, value_of)}", f"Leave {s.key} out."
    if mend := _OTHER_KIND.get(s.key):
        ((key, value),) = mend.items()
        fix = f"Set {key} to {value}, or leave {s.key} out."
        return Problem(setting=s.key, what=what, fix=fix, mend=mend, mend_label=f"Use {value}")
    return Problem(
        setting=s.key,
        what=what,
        fix=fix,
        severity="advice",
        mend={s.key: s.default},
        mend_label=f"Leave {s.key} out",
    )


def _not_its_own(place: str, item: str, value_of: ValueOf) -> list[Problem]:
    key = item.partition("=")[0].strip()
    here = {s.key: s for s in catalogue() if s.place == place}
    if key not in here or acts(here[key], value_of) or not _known_owner(here[key], value_of):
        return []
    why, fix = _belongs(here[key], value_of), f"Leave {key} out."
    no_course = finds_its_rate(value_of) or schedule_free(value_of("optimizer_type"))
    if place == "network_args" or (place == "lr_scheduler_args" and no_course):
        problem = _nothing_here(here[key], value_of)
        # It stands in a list, which no button changes.
        return [replace(problem, mend={}, mend_label="")]
    return [Problem(setting=key, what=f"The chosen type stops at it. {why}", fix=fix)]


def _known_owner(s: Setting, value_of: ValueOf) -> bool:
    """False where a type is chosen that may take an argument of this name for itself."""
    if "lr_scheduler" in s.only:
        return not value_of("lr_scheduler_type")
    return all(_owners.is_known(key, value_of(key)) for key in s.only)
