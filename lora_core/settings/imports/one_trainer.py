"""The JSON of OneTrainer: its presets and the configuration of a run, as far as it maps.

OneTrainer is another trainer, so the same number may act a little otherwise; each such key says so.

Covered: LoRA and LyCORIS of the families that sd-scripts trains as well, format of August 2026. Not covered:
other families, finetuning, embeddings, the cloud.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from lora_core.settings._description import EVERY_FAMILY, FLOW_FAMILIES
from lora_core.settings.conflicts.network import network_of
from lora_core.settings.imports._gather import Gathering
from lora_core.settings.imports._report import Imported, brief
from lora_core.settings.imports.one_trainer_keys import (
    ABOUT_THE_PROGRAM,
    DTYPES,
    FAMILIES,
    FOR_A_WHILE,
    OF_OPTIMIZERS,
    OPTIMIZERS,
    SCHEDULES,
    SIMPLE,
    STARTS,
    STARTS_OF_OTHERS,
)
from lora_core.settings.imports.one_trainer_lists import take_concepts, take_samples
from lora_core.settings.imports.one_trainer_noise import FLOW_STARTS, take_noise

_OFF: Final = "It is empty or off there."
_ASSUMED: Final = "It is not in the file. OneTrainer then takes this."


def read_one_trainer(name: str, table: Mapping[str, Any]) -> Imported:
    """A file of OneTrainer.

    Raises:
        SettingsError: no key of it is one of a recipe.
    """
    gathering = Gathering(name, "onetrainer")
    model = str(table.get("model_type", ""))
    gathering.family = FAMILIES.get(model, model.lower() or None)
    starts = {**STARTS, **FLOW_STARTS.get(gathering.family or "", {})}
    given = set(dict(_flat(table)))
    flat = {**starts, **dict(_flat(table))}
    if "optimizer" in given or "optimizer.optimizer" in given:
        flat = {key: value for key, value in flat.items() if key in given or not key.startswith("optimizer")}
    gathering.assumed = {key: _ASSUMED for key in flat if key not in given}
    if gathering.family is not None and gathering.family not in EVERY_FAMILY:
        gathering.notes.append(
            f"It is for base models of the kind {brief(model)}, which this app does not train. "
            "What maps was taken."
        )
    if (method := str(table.get("training_method", "LORA"))) != "LORA":
        gathering.notes.append(
            f"It is for {brief(method)}, and this app trains LoRAs: look at the learning rate."
        )
    done: set[str] = set()
    for take in (
        _take_optimizer,
        _take_schedule,
        _take_network,
        _take_parts,
        _take_loss,
        _take_times,
        take_noise,
    ):
        done |= take(gathering, flat)
    for key, value in flat.items():
        if key not in done:
            _take(gathering, key, value)
    take_samples(gathering, table.get("samples"))
    take_concepts(gathering, table.get("concepts"))
    return gathering.done()


def _flat(table: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value and key != "secrets":
            yield from _flat(value, f"{start}{key}.")
        elif start or key not in {"samples", "concepts"}:
            yield f"{start}{key}", value


def _take(gathering: Gathering, key: str, value: Any) -> None:
    if key in SIMPLE:
        ours, reason = SIMPLE[key]
        gathering.take(key, ours, value, reason=reason)
    elif (why := FOR_A_WHILE.get(key.rpartition(".")[2])) and "." in key and value:
        gathering.left(key, value, why)
    elif key in ABOUT_THE_PROGRAM or key.startswith(STARTS_OF_OTHERS):
        gathering.ignore(
            key,
            value,
            ABOUT_THE_PROGRAM.get(key, "It is about the program, or for other families of models."),
        )
    elif key == "resolution":
        _take_size(gathering, key, value)
    elif key == "train_dtype":
        _dtype(gathering, key, value, "mixed_precision", "no")
    elif key == "output_dtype":
        _dtype(gathering, key, value, "save_precision", "float")
    elif key == "output_model_destination":
        stem = PureWindowsPath(str(value)).stem if "\\" in str(value) else PurePosixPath(str(value)).stem
        gathering.take(key, "output_name", stem or None, was=value, reason="The name of the file is taken.")
    elif value in (None, "", False, 0, "NEVER", "NONE", "OFF", [], {}):
        gathering.ignore(key, value, _OFF)
    else:
        gathering.left(key, value, "This app has no such setting.")


def _take_size(gathering: Gathering, key: str, value: Any) -> None:
    text = str(value).lower().replace(" ", "")
    if "," in text:
        first = text.partition(",")[0]
        gathering.take(
            key,
            "resolution",
            first,
            was=value,
            reason="It names several sizes, and a training here has one: the first.",
        )
    elif "x" in text:
        gathering.take(
            key, "resolution", text.replace("x", ","), was=value, reason="It is written with a comma here."
        )
    else:
        gathering.take(key, "resolution", text, was=value)


def _dtype(gathering: Gathering, key: str, value: Any, ours: str, full: str) -> None:
    kind = DTYPES.get(str(value))
    if kind is None:
        gathering.left(key, value, "This app has no such precision.")
    else:
        gathering.take(
            key, ours, full if kind == "full" else kind, was=value, reason=f"sd-scripts calls it {ours}."
        )


def _take_optimizer(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    keys = {key for key in flat if key == "optimizer" or key.startswith("optimizer.")}
    name = flat.get("optimizer.optimizer", flat.get("optimizer"))
    if name is not None:
        ours = OPTIMIZERS.get(str(name))
        source = "optimizer.optimizer" if "optimizer.optimizer" in flat else "optimizer"
        if ours is None:
            gathering.left(source, name, "This app has no such optimizer.")
        else:
            gathering.take(source, "optimizer_type", ours, was=name, reason=f"sd-scripts calls it {ours}.")
    betas = [flat.get(f"optimizer.beta{n}") for n in (1, 2)]
    if all(isinstance(beta, int | float) for beta in betas):
        gathering.take(
            "optimizer.beta1", "betas", betas, was=betas, reason="Both betas are one setting here."
        )
    for key in sorted(keys - {"optimizer", "optimizer.optimizer"}):
        value = flat[key]
        plain = key.removeprefix("optimizer.")
        if plain in {"beta1", "beta2"} and None not in betas:
            gathering.ignore(key, value, "It is part of betas.") if plain == "beta2" else None
        elif value in (None, False, "", {}) or plain in {
            "foreach",
            "fused",
            "stochastic_rounding",
            "fused_back_pass",
        }:
            gathering.ignore(
                key, value, _OFF if value in (None, False, "", {}) else "It changes speed or memory."
            )
        elif plain in {"weight_decay", "eps"} or plain in OF_OPTIMIZERS:
            gathering.item("optimizer_args", f"{plain}={value}", key)
        else:
            gathering.left(key, value, "This app has no such argument.")
    return keys


def _take_schedule(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    warm = flat.get("learning_rate_warmup_steps")
    if "learning_rate_scheduler" in flat:
        name = flat["learning_rate_scheduler"]
        ours, reason = SCHEDULES.get(str(name), ("", ""))
        if ours == "constant" and isinstance(warm, int | float) and warm > 0:
            ours = "constant_with_warmup"
        if ours:
            gathering.take(
                "learning_rate_scheduler",
                "lr_scheduler",
                ours,
                was=name,
                reason=reason or f"sd-scripts calls it {ours}.",
            )
        else:
            gathering.left("learning_rate_scheduler", name, "This app has no such course.")
    if isinstance(warm, int | float) and not isinstance(warm, bool):
        share = 0 < warm <= 1
        value = float(warm) if share else int(warm)
        reason = "Up to 1 it is a share of the training." if share else "It counts steps."
        gathering.take("learning_rate_warmup_steps", "lr_warmup_steps", value, was=warm, reason=reason)
    elif warm is not None:
        gathering.left("learning_rate_warmup_steps", warm, "It must be a number.")
    lowest = flat.get("learning_rate_min_factor")
    if lowest:
        gathering.take("learning_rate_min_factor", "lr_scheduler_min_lr_ratio", lowest,
                       reason="sd-scripts uses it with the course cosine_with_min_lr alone.")  # fmt: skip
    elif "learning_rate_min_factor" in flat:
        gathering.ignore("learning_rate_min_factor", lowest, _OFF)
    return {"learning_rate_scheduler", "learning_rate_warmup_steps", "learning_rate_min_factor"}


def _take_network(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    kind = str(flat.get("peft_type", "LORA"))
    lokr = kind == "LOKR"
    dora = flat.get("lora_decompose") is True or (lokr and flat.get("lokr_weight_decompose") is True)
    algo = {"LOHA": "loha", "LOKR": "lokr"}.get(kind, "lora" if dora else "")
    if kind not in {"LORA", "LOHA", "LOKR"}:
        gathering.left("peft_type", kind, "This app has no such network.")
    elif "peft_type" in flat or dora or gathering.family in FLOW_FAMILIES:
        module = "lycoris.kohya" if algo else network_of(gathering.family)
        source = "lora_decompose" if dora and "peft_type" not in flat else "peft_type"
        if source not in flat:
            gathering.assumed[source] = _ASSUMED
        gathering.take(source, "network_module", module, was=kind, reason=f"sd-scripts calls it {module}.")
        if algo:
            gathering.take(source, "algo", algo, was=kind, reason="It is a method of LyCORIS.")
    rows = {
        "lora_rank": "" if lokr else "network_dim",
        "lokr_dim": "network_dim" if lokr else "",
        "lora_alpha": "network_alpha",
    }
    rows |= {
        "lora_decompose": "dora_wd" if dora and not lokr else "",
        "lokr_weight_decompose": "dora_wd" if dora and lokr else "",
    }
    rows |= {"lora_decompose_output_axis": "wd_on_output" if dora and not lokr else ""}
    rows |= {"lokr_dora_on_output": "wd_on_output" if dora and lokr else ""}
    for theirs, ours in (
        ("factor", "factor"),
        ("both", "decompose_both"),
        ("tucker", "use_tucker"),
        ("matrix", "full_matrix"),
    ):
        full = {
            "factor": "lokr_decompose_factor",
            "both": "lokr_decompose_both",
            "tucker": "lokr_use_tucker",
            "matrix": "lokr_full_matrix",
        }
        rows[full[theirs]] = ours if lokr else ""
    for key, ours in rows.items():
        if key in flat and ours:
            gathering.take(key, ours, flat[key], reason=f"sd-scripts calls it {ours}.")
        elif key in flat:
            gathering.ignore(key, flat[key], f"The network {kind} does not use it.")
    return {*rows, "peft_type"}


def _take_parts(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    """Which parts are trained, and their rates."""
    texts = ("text_encoder", "text_encoder_2") if gathering.family == "sdxl" else ("text_encoder",)
    trained = [part for part in texts if flat.get(f"{part}.train") is not False]
    part_of_images = "transformer" if gathering.family in FLOW_FAMILIES else "unet"
    image = flat.get(f"{part_of_images}.train") is not False
    switches = (f"{part}.train" for part in (*texts, part_of_images))
    source_of_parts = next((key for key in switches if key in flat), None)
    if source_of_parts is not None:
        reason = "The text part is not trained." if not trained else "The text part is trained."
        was = flat[source_of_parts]
        gathering.take(source_of_parts, "network_train_unet_only", not trained, was=was, reason=reason)
        if not image:
            gathering.take(
                f"{part_of_images}.train",
                "network_train_text_encoder_only",
                True,
                was=False,
                reason="The image part is not trained.",
            )
    rates = [
        flat[f"{part}.learning_rate"] for part in trained if flat.get(f"{part}.learning_rate") is not None
    ]
    if rates:
        gathering.take(
            f"{trained[0]}.learning_rate",
            "text_encoder_lr",
            rates,
            reason="sd-scripts calls it text_encoder_lr.",
        )
    of_images = f"{part_of_images}.learning_rate"
    if (rate := flat.get(of_images)) is not None:
        gathering.take(of_images, "unet_lr", rate, reason="sd-scripts calls it unet_lr.")
    elif of_images in flat:
        gathering.ignore(of_images, None, _OFF)
    done = {
        f"{part}.{key}"
        for part in (part_of_images, "text_encoder", "text_encoder_2")
        for key in ("train", "learning_rate")
    }
    told = {source_of_parts, f"{trained[0]}.learning_rate" if rates else None}
    told |= {None if image else f"{part_of_images}.train", of_images}
    _rest_of_parts(gathering, flat, done - told)
    skip = flat.get("text_encoder_layer_skip")
    if isinstance(skip, int) and skip and not isinstance(skip, bool):
        gathering.take(
            "text_encoder_layer_skip",
            "clip_skip",
            skip + 1,
            was=skip,
            reason="It counts from 0 there and from 1 here.",
        )
        done.add("text_encoder_layer_skip")
    return done


def _rest_of_parts(gathering: Gathering, flat: Mapping[str, Any], keys: set[str]) -> None:
    for key in sorted(keys & flat.keys()):
        why = _OFF if flat[key] is None else "It is part of what was taken for the other parts."
        gathering.ignore(key, flat[key], why)


def _take_loss(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    strengths = {
        key: flat[key]
        for key in ("mse_strength", "mae_strength", "log_cosh_strength", "huber_strength")
        if key in flat
    }
    on = [key for key, value in strengths.items() if value]
    names = {"mse_strength": "l2", "mae_strength": "l1", "huber_strength": "huber"}
    for key, value in strengths.items():
        if on == [key] and key in names:
            gathering.take(
                key, "loss_type", names[key], was=value, reason=f"sd-scripts calls this loss {names[key]}."
            )
        elif not value:
            gathering.ignore(key, value, _OFF)
        else:
            gathering.left(key, value, "Here a training has one kind of loss.")
    weighting, strength = flat.get("loss_weight_fn"), flat.get("loss_weight_strength")
    if weighting == "MIN_SNR_GAMMA":
        gathering.take("loss_weight_fn", "min_snr_gamma", strength or 5.0, was=weighting,
                       reason="Its strength is min_snr_gamma.")  # fmt: skip
    elif weighting == "DEBIASED_ESTIMATION":
        gathering.take(
            "loss_weight_fn",
            "debiased_estimation_loss",
            True,
            was=weighting,
            reason="sd-scripts calls it so.",
        )
    elif weighting == "CONSTANT":
        gathering.ignore("loss_weight_fn", weighting, "Every step counts the same, here too.")
    elif weighting is not None:
        gathering.left("loss_weight_fn", weighting, "This app has no such weighting.")
    if "loss_weight_strength" in flat:
        gathering.ignore("loss_weight_strength", strength, "It belongs to loss_weight_fn.")
    return {*strengths, "loss_weight_fn", "loss_weight_strength"}


def _take_times(gathering: Gathering, flat: Mapping[str, Any]) -> set[str]:
    """What is done every so many epochs, steps or minutes, and the range of noise."""
    for key, start, begins in (
        ("save_every", "save_every", "NEVER"),
        ("sample_after", "sample_every", "MINUTE"),
        ("validate_after", "validate_every", "EPOCH"),
    ):
        # A file without the unit means OneTrainer's own.
        unit, value = str(flat.get(f"{key}_unit") or begins), flat.get(key)
        if key not in flat:
            continue
        if unit in {"EPOCH", "STEP"} and (key != "validate_after" or flat.get("validation")):
            ours = f"{start}_n_{unit.lower()}s"
            gathering.take(key, ours, value, reason=f"sd-scripts calls it {ours}.")
        elif unit == "NEVER" or key == "validate_after":
            gathering.ignore(key, value, _OFF)
        else:
            gathering.left(key, value, "Here it is done after epochs or steps.")
    for key, ours in (("min_noising_strength", "min_timestep"), ("max_noising_strength", "max_timestep")):
        value = flat.get(key)
        if isinstance(value, int | float) and 0 <= value <= 1:
            gathering.take(
                key,
                ours,
                round(value * 1000) or None,
                was=value,
                reason="It is a share of 1000 steps of noise.",
            )
        elif key in flat:
            gathering.left(key, value, "It must be a share from 0 to 1.")
    units = {f"{key}_unit" for key in ("save_every", "sample_after", "validate_after")}
    for unit in sorted(units & flat.keys()):
        gathering.ignore(unit, flat[unit], "It is the unit of another key.")
    return {
        "save_every",
        "sample_after",
        "validate_after",
        *units,
        "min_noising_strength",
        "max_noising_strength",
    }
