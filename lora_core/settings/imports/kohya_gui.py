"""The JSON files of the kohya_ss GUI: its presets, and what it saves beside each run.

The GUI does not pass every value on: zeros and empty fields are left out, the kind of LoRA decides
which of its fields count, epochs become steps, percents become shares. What it would have passed on
is what is taken; every other key is named with the reason.

Covered: the GUI's LoRA tab at commit 45088f0 (July 2026), and older names in its presets. Not
covered: its tabs for finetuning, dreambooth and textual inversion.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from lora_core.settings import known
from lora_core.settings._read import literal
from lora_core.settings.imports._gather import LISTS, Gathering, take_absent
from lora_core.settings.imports._report import Imported, brief
from lora_core.settings.imports.kohya_gui_keys import (
    FAMILIES,
    OF_OTHER_FAMILIES,
    OTHER_PREFIXES,
    OWN,
    PASSED_ON_AS,
    SCHEDULE_LENGTH,
)
from lora_core.settings.imports.kohya_gui_network import NETWORK_KEYS, take_network
from lora_core.settings.run import catalogue

_OFF: Final = "It is empty or off there, and the GUI leaves it out."
_LONGEST: Final = 10_000
"""Signs of a line of arguments."""
_EMPTY: Final = ("", None, False, 0)


def read_kohya_gui(name: str, table: Mapping[str, Any]) -> Imported:
    """A file of the kohya_ss GUI.

    Raises:
        SettingsError: no key of it is one of a recipe.
    """
    gathering = Gathering(name, "kohya_ss")
    gathering.family = _family(table)
    take_network(gathering, table)
    _take_length(gathering, table)
    _take_rates(gathering, table)
    done = NETWORK_KEYS | SCHEDULE_LENGTH | {"learning_rate", "text_encoder_lr", "unet_lr", "t5xxl_lr"}
    for key, value in table.items():
        if key not in done:
            _take(gathering, key, value, table)
    _take_additional(gathering, str(table.get("additional_parameters") or ""))
    take_absent(gathering)
    if gathering.family not in {"sd15", "sdxl"}:
        gathering.notes.append(
            f"It is for base models of the family {gathering.family}, which this app does not train yet. "
            "What all families share was taken."
        )
    return gathering.done()


def _family(table: Mapping[str, Any]) -> str:
    for key, family in FAMILIES.items():
        if table.get(key) is True:
            return family
    return "sd2" if table.get("v2") is True else "sd15"


def number(value: Any) -> Any:
    """A number of the GUI, which may be text; anything else stays as it is."""
    return literal(value.strip()) if isinstance(value, str) else value


def is_off(value: Any) -> bool:
    """True for what the GUI leaves out: empty, off, and zero in any spelling."""
    plain = number(value)
    return plain in _EMPTY if isinstance(plain, str | int | float) or plain is None else not plain


def _take(gathering: Gathering, key: str, value: Any, table: Mapping[str, Any]) -> None:
    special = _SPECIAL.get(key)
    if special is not None:
        special(gathering, key, value, table)
    elif key in OWN:
        gathering.ignore(key, value, OWN[key])
    elif key in OF_OTHER_FAMILIES or key.startswith(OTHER_PREFIXES):
        gathering.ignore(key, value, "It is for other families of models than this app trains now.")
    else:
        _passed_on(gathering, key, PASSED_ON_AS.get(key, key), value)


def _passed_on(gathering: Gathering, name: str, key: str, value: Any) -> None:
    """Take a value as sd-scripts would get it: what is off is left out, and its own value counts."""
    setting = next((s for s in catalogue() if key in {s.key, s.argument} and s.place not in LISTS), None)
    if not is_off(value) or key in known.CHANGES_NO_RESULT:
        gathering.argument(name, key, value)
    elif setting is None:
        gathering.ignore(name, value, _OFF)
    else:
        own = known.tables()["arguments"].get(key, ("", None))[1]
        own = None if own == "" or setting.optional else own
        same = own is None or is_off(own) or number(value) == own
        reason = "" if same else f"The GUI leaves it out, and sd-scripts then takes {brief(own)}."
        if own is None and not setting.optional:
            gathering.ignore(name, value, _OFF)
        else:
            gathering.take(name, setting.key, own, reason=reason, was=value)


# --- keys with a meaning of their own -----------------------------------------------------------


def _take_length(gathering: Gathering, table: Mapping[str, Any]) -> None:
    """How long the run is: epochs, else steps, else the GUI's own count."""
    epochs, steps, own = (table.get(key) for key in ("max_train_epochs", "max_train_steps", "epoch"))
    if not is_off(epochs):
        gathering.take("max_train_epochs", "max_train_epochs", epochs)
    elif "max_train_epochs" in table and is_off(steps):
        gathering.ignore("max_train_epochs", epochs, _OFF)
    elif "max_train_epochs" in table:
        gathering.take("max_train_epochs", "max_train_epochs", None, was=epochs)
    if not is_off(epochs) and not is_off(steps):
        gathering.ignore("max_train_steps", steps, "The number of epochs is given, and it counts.")
    elif not is_off(steps):
        gathering.take("max_train_steps", "max_train_steps", steps)
    elif "max_train_steps" in table:
        gathering.ignore("max_train_steps", steps, _OFF)
    if "epoch" in table and is_off(epochs) and is_off(steps):
        reason = "The GUI counts the steps from it. sd-scripts calls it max_train_epochs."
        gathering.take("epoch", "max_train_epochs", own, reason=reason)
    elif "epoch" in table:
        gathering.ignore("epoch", own, "The length of the training is given otherwise.")
    _take_warmup(gathering, table)
    if "lr_scheduler_num_cycles" in table:
        cycles = table["lr_scheduler_num_cycles"]
        if cycles == "" and is_off(own):
            gathering.ignore("lr_scheduler_num_cycles", cycles, _OFF)
        elif cycles == "":
            gathering.take("lr_scheduler_num_cycles", "lr_scheduler_num_cycles", own, was="empty",
                           reason="If it is empty, the GUI takes the number of epochs.")  # fmt: skip
        else:
            gathering.take("lr_scheduler_num_cycles", "lr_scheduler_num_cycles", cycles)


def _take_warmup(gathering: Gathering, table: Mapping[str, Any]) -> None:
    percent, steps = table.get("lr_warmup"), table.get("lr_warmup_steps")
    if not is_off(steps):
        gathering.take("lr_warmup_steps", "lr_warmup_steps", steps)
        if "lr_warmup" in table:
            gathering.ignore("lr_warmup", percent, "The number of steps is given, and it counts.")
        return
    if "lr_warmup_steps" in table:
        gathering.ignore("lr_warmup_steps", steps, _OFF)
    if "lr_warmup" not in table:
        return
    share = number(percent)
    if is_off(percent):
        gathering.take("lr_warmup", "lr_warmup_steps", 0, was=percent)
    elif isinstance(share, int | float):
        reason = "It is a percentage there. sd-scripts calls it lr_warmup_steps and takes a share."
        gathering.take("lr_warmup", "lr_warmup_steps", share / 100, was=percent, reason=reason)
    else:
        gathering.left("lr_warmup", percent, "It must be a number.")


def _take_rates(gathering: Gathering, table: Mapping[str, Any]) -> None:
    """The rates; one of zero means that this part is not trained."""
    rates = {
        key: table[key] for key in ("learning_rate", "text_encoder_lr", "unet_lr", "t5xxl_lr") if key in table
    }
    for key in ("learning_rate", "unet_lr"):
        if key in rates:
            _passed_on(gathering, key, key, rates[key])
    if "text_encoder_lr" in rates:
        rate = rates["text_encoder_lr"]
        gathering.take("text_encoder_lr", "text_encoder_lr", None if is_off(rate) else rate, was=rate)
    if "t5xxl_lr" in rates:
        gathering.ignore(
            "t5xxl_lr", rates["t5xxl_lr"], "It is for other families of models than this app trains now."
        )
    if {"text_encoder_lr", "unet_lr"} <= rates.keys():
        off = {key: is_off(rates[key]) for key in ("text_encoder_lr", "unet_lr")}
        unet_only = off["text_encoder_lr"] and not off["unet_lr"]
        text_only = off["unet_lr"] and not off["text_encoder_lr"]
        for key, value, rate in (
            ("network_train_unet_only", unet_only, "text_encoder_lr"),
            ("network_train_text_encoder_only", text_only, "unet_lr"),
        ):
            reason = "A rate of 0 means that this part is not trained." if value else ""
            gathering.take(rate, key, value, was=rates[rate], reason=reason)


def _seed(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    if is_off(value):
        start = next(s.default for s in catalogue() if s.key == "seed")
        reason = (
            "There each training draws its own seed. Here it is kept, so that a training can be repeated."
        )
        gathering.take(key, "seed", start, was=value, reason=reason)
    else:
        gathering.take(key, "seed", value)


def _steps(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    least = next(s.ge for s in catalogue() if s.key == "bucket_reso_steps")
    steps = number(value)
    if isinstance(steps, int | float) and least is not None and 0 < steps < least:
        reason = "Models work in blocks of 8 pixels, so that smaller steps act as 8."
        gathering.take(key, "bucket_reso_steps", int(least), was=value, reason=reason)
    else:
        _passed_on(gathering, key, key, value)


def _noise(gathering: Gathering, key: str, value: Any, table: Mapping[str, Any]) -> None:
    kind = str(table.get("noise_offset_type") or "").lower()
    multires = key.startswith("multires_")
    if kind in {"original", "multires"} and multires != (kind == "multires"):
        gathering.ignore(
            key,
            value,
            f"The GUI leaves it out while noise_offset_type is {brief(table['noise_offset_type'])}.",
        )
    else:
        _passed_on(gathering, key, key, value)


def _attention(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    gathering.ignore(key, value, "It changes speed or memory, not the result.")


def _of_sdxl(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    ours = key.removeprefix("sdxl_")
    if gathering.family == "sdxl":
        gathering.take(key, ours, value, reason=f"sd-scripts calls it {ours}.")
    else:
        gathering.ignore(key, value, "It is for SDXL.")


def _network_weights(gathering: Gathering, key: str, value: Any, table: Mapping[str, Any]) -> None:
    if is_off(value) and any(not is_off(table.get(k)) for k in ("network_weights", "lora_network_weights")):
        gathering.ignore(key, value, _OFF)
    else:
        reason = "" if key == "network_weights" else "sd-scripts calls it network_weights."
        gathering.take(
            key,
            "network_weights",
            None if is_off(value) else value,
            was=value,
            reason="" if is_off(value) else reason,
        )


def _dynamo(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    gathering.ignore(key, value, "It is about how the program is started.")


def _arguments(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    """A field with `key=value` texts behind each other; quotes are for the eye."""
    items = value if isinstance(value, list) else str(value or "").replace('"', "").split()
    if not items:
        gathering.ignore(key, value, _OFF)
    else:
        gathering.items(key, items, key)


def _prompts(gathering: Gathering, key: str, value: Any, _table: Mapping[str, Any]) -> None:
    lines = [line.strip() for line in str(value or "").splitlines() if line.strip()]
    gathering.take(key, "sample_prompts", lines or None, was=value)


_SPECIAL: Final[Mapping[str, Callable[[Gathering, str, Any, Mapping[str, Any]], None]]] = {
    "seed": _seed,
    "bucket_reso_steps": _steps,
    **dict.fromkeys(("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"), _noise),
    **dict.fromkeys(("multires_noise_iterations", "multires_noise_discount"), _noise),
    **dict.fromkeys(("xformers", "mem_eff_attn"), _attention),
    **dict.fromkeys(("sdxl_cache_text_encoder_outputs", "sdxl_no_half_vae"), _of_sdxl),
    **dict.fromkeys(("network_weights", "lora_network_weights"), _network_weights),
    "dynamo_backend": _dynamo,
    **dict.fromkeys(("optimizer_args", "lr_scheduler_args"), _arguments),
    "sample_prompts": _prompts,
}


def _take_additional(gathering: Gathering, text: str) -> None:
    """The field for further arguments, as a command line has them."""
    if len(text) > _LONGEST:
        gathering.left("additional_parameters", text, "It is longer than such a line can be.")
        return
    try:
        words = shlex.split(text)
    except ValueError:
        gathering.left("additional_parameters", text, "Its quotes do not match.")
        return
    found: list[tuple[str, list[str]]] = []
    for word in words:
        key, sign, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            found.append((key.replace("-", "_"), [value] if sign else []))
        elif found:
            found[-1][1].append(word)
        else:
            gathering.left("additional_parameters", word, "It stands behind no argument.")
    arguments = known.tables()["arguments"]
    for key, values in found:
        name = f"additional_parameters.{key}"
        kind = arguments.get(key, ("", None))[0]
        if kind == "bool":
            gathering.argument(name, key, True)
        elif kind == "list":
            gathering.argument(name, key, values if key in LISTS else [literal(v) for v in values])
        else:
            gathering.argument(name, key, " ".join(values))
