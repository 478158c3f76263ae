"""The notes that sd-scripts and this app write into a LoRA file: "train like this one".

The notes say less than the settings did: sd-scripts leaves out what it does not write down, such as
timesteps and caching of texts. What is not noted takes this app's starting values.

Covered: `ss_*` as sd-scripts writes them at 48d368f, and `modelspec.*`. Not covered: reading the
file (see `lora_core.loras`).
"""

import ast
import json
from collections.abc import Mapping
from typing import Any, Final

from lora_core.settings import known
from lora_core.settings._read import literal
from lora_core.settings.imports._gather import Gathering
from lora_core.settings.imports._parse import refused
from lora_core.settings.imports._report import Imported, brief
from lora_core.settings.imports.sd_scripts import take_datasets
from lora_core.settings.run import catalogue

_TEXT_LIMIT: Final = 1_000_000
_RENAMED: Final = {
    "debiased_estimation": "debiased_estimation_loss",
    "num_epochs": "max_train_epochs",
    "batch_size_per_device": "train_batch_size",
}
_FACTS: Final = "It is a fact about that training, not a setting."
_PICTURES: Final = "It is a fact about its pictures."
_IGNORED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("session_id", "training_started_at", "training_finished_at", "steps", "epoch"), _FACTS),
    **dict.fromkeys(("sd_scripts_commit_hash", "num_batches_per_epoch", "total_batch_size"), _FACTS),
    **dict.fromkeys(("sd_model_hash", "new_sd_model_hash", "vae_hash", "new_vae_hash", "vae_name"), _FACTS),
    **dict.fromkeys(
        ("num_train_images", "num_reg_images", "num_validation_images", "tag_frequency"), _PICTURES
    ),
    **dict.fromkeys(("bucket_info", "dataset_dirs", "reg_dataset_dirs"), _PICTURES),
    "max_train_steps": "The number of epochs is noted too, and fits any number of pictures.",
    "base_model_version": "It says the family of the base model.",
    "sd_model_name": "Choose the base model yourself. This is the one it was trained on.",
}
_OPTIMIZERS: Final = {
    "adamw": "AdamW", "adamw8bit": "AdamW8bit", "lion": "Lion", "lion8bit": "Lion8bit", "prodigy": "Prodigy",
    "adafactor": "Adafactor", "pagedadamw8bit": "PagedAdamW8bit", "pagedadamw": "PagedAdamW",
    "pagedadamw32bit": "PagedAdamW32bit", "dadaptadam": "DAdaptAdam", "dadaptadampreprint": "DAdaptation",
    "adamwschedulefree": "AdamWScheduleFree", "radamschedulefree": "RAdamScheduleFree",
    "sgdschedulefree": "SGDScheduleFree", "sgd": "SGD", "sgd8bit": "SGDNesterov8bit",
}  # fmt: skip
_SHORT_PACKAGES: Final = (
    "torch.",
    "bitsandbytes.",
    "prodigyopt.",
    "transformers.",
    "lion_pytorch.",
    "dadaptation.",
    "schedulefree.",
)
_FAMILIES: Final = (
    ("sd_v1", "sd15"), ("sdxl", "sdxl"), ("sd_v2", "sd2"), ("sd3", "sd3"), ("flux", "flux1"),
    ("chroma", "chroma"),    ("lumina", "lumina"), ("anima", "anima"), ("hunyuan", "hunyuan-image"),
)  # fmt: skip
_OF_SUBSETS: Final = frozenset({"img_count", "image_dir", "resize_interpolation", "metadata_file"})


def read_metadata(name: str, metadata: Mapping[str, Any]) -> Imported:
    """The recipe in the notes of a LoRA file.

    Raises:
        SettingsError: the file has no notes of a training run.
    """
    if not any(key.startswith("ss_") for key in metadata):
        why = "It has no notes of a training run. Some programs take them out."
        raise refused(name, why, "Choose a LoRA file that has them. Utilities shows the notes of a file.")
    gathering = Gathering(name, "lora")
    version = str(metadata.get("ss_base_model_version", ""))
    gathering.family = next((family for start, family in _FAMILIES if version.startswith(start)), None)
    steps = "ss_num_epochs" not in metadata
    for key, value in metadata.items():
        if key == "ss_max_train_steps" and steps:
            gathering.argument(key, "max_train_steps", value)
        else:
            _take(gathering, key, value)
    _take_module(gathering, metadata)
    gathering.notes.append(
        "The notes in a LoRA do not hold every setting. What they leave out takes its starting value."
    )
    return gathering.done()


def _take(gathering: Gathering, key: str, value: Any) -> None:
    plain = key.removeprefix("ss_")
    if not key.startswith("ss_"):
        _take_spec(gathering, key, value)
    elif plain in _IGNORED:
        gathering.ignore(key, value, _IGNORED[plain])
    elif not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        gathering.left(key, brief(value), "It must be text.")
    elif plain == "optimizer":
        _take_optimizer(gathering, key, value)
    elif plain == "datasets":
        _take_datasets(gathering, key, value)
    elif plain == "network_args":
        gathering.items("network_args", _loaded(value), key)
    elif value in {"None", ""}:
        _take_unset(gathering, key, _RENAMED.get(plain, plain))
    elif plain in {"text_encoder_lr", "resolution"}:
        gathering.argument(key, plain, _listed(literal(value)))
    else:
        _plain(gathering, key, _RENAMED.get(plain, plain), value)


def _plain(gathering: Gathering, name: str, key: str, value: str) -> None:
    reason = "" if f"ss_{key}" == name else f"sd-scripts calls the setting {key}."
    if key in known.tables()["arguments"] or any(s.key == key for s in catalogue()):
        gathering.argument(name, key, value, reason=reason)
    else:
        gathering.left(name, value)


def _take_unset(gathering: Gathering, name: str, key: str) -> None:
    s = next((s for s in catalogue() if key in {s.key, s.argument}), None)
    if s is not None and s.optional:
        gathering.take(name, s.key, None, was="None")
    else:
        gathering.ignore(name, "None", "It was not set there.")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _take_optimizer(gathering: Gathering, key: str, text: str) -> None:
    """`torch.optim.adamw.AdamW(weight_decay=0.1,betas=(0.9, 0.99))`: read as a text, never called."""
    name, sign, arguments = text.partition("(")
    last = name.rpartition(".")[2].strip()
    short = _OPTIMIZERS.get(last.lower()) if name.startswith(_SHORT_PACKAGES) else None
    reason = f"sd-scripts calls it {short}." if short and short != name else ""
    gathering.take(key, "optimizer_type", short or name.strip(), was=name, reason=reason)
    if not sign:
        return
    found = _keywords(arguments.rstrip().removesuffix(")"))
    if found is None:
        gathering.left(f"{key}.arguments", arguments, "Its arguments do not have the form key=value.")
        return
    for argument, value in found.items():
        gathering.item("optimizer_args", f"{argument}={value}", f"{key}.{argument}")


def _keywords(text: str) -> dict[str, str] | None:
    if len(text) > 2000:
        return None
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        return None
    found: dict[str, str] = {}
    for keyword in call.keywords:
        try:
            found[str(keyword.arg)] = repr(ast.literal_eval(keyword.value))
        except (ValueError, TypeError, MemoryError, RecursionError):
            return None
    return found


def _take_datasets(gathering: Gathering, key: str, text: str) -> None:
    """The datasets of a run with a dataset file, as JSON."""
    datasets = _loaded(text)
    if not isinstance(datasets, list) or not all(isinstance(each, dict) for each in datasets):
        gathering.left(key, text, "It must be a list of tables.")
        return
    placed = {s.key for s in catalogue() if s.place == "dataset"}
    tables = []
    for dataset in datasets:
        table = {k: v for k, v in dataset.items() if k in placed and v is not None}
        if "batch_size_per_device" in dataset:
            table["batch_size"] = dataset["batch_size_per_device"]
        subsets = dataset.get("subsets", [])
        table["subsets"] = (
            [_subset(each) for each in subsets if isinstance(each, dict)] if isinstance(subsets, list) else []
        )
        tables.append(table)
    take_datasets(gathering, {"datasets": tables})
    gathering.ignore(
        key, f"{len(datasets)} of them", "What it holds is listed on its own, as datasets and subsets."
    )


def _subset(subset: Mapping[str, Any]) -> dict[str, Any]:
    # A folder of pictures is noted by its last name alone, so it cannot be found again.
    return {k: v for k, v in subset.items() if k not in _OF_SUBSETS and v not in (None, "")}


def _take_module(gathering: Gathering, metadata: Mapping[str, Any]) -> None:
    rates = {key: str(metadata.get(f"ss_{key}", "")) for key in ("text_encoder_lr", "unet_lr")}
    if rates["text_encoder_lr"] in {"0", "0.0", "[]"}:
        reason = "The text part had no rate."
        gathering.take(
            "ss_text_encoder_lr", "network_train_unet_only", True, was=rates["text_encoder_lr"], reason=reason
        )
    elif rates["text_encoder_lr"] not in {"", "None"}:
        reason = "The text part has a rate, so both parts were trained."
        gathering.take(
            "ss_text_encoder_lr",
            "network_train_unet_only",
            False,
            was=rates["text_encoder_lr"],
            reason=reason,
        )


def _take_spec(gathering: Gathering, key: str, value: Any) -> None:
    if key == "modelspec.trigger_phrase":
        gathering.take(key, "metadata_trigger_phrase", value)
    elif key == "modelspec.author":
        gathering.take(key, "metadata_author", value)
    elif key == "modelspec.prediction_type" and value == "v":
        gathering.take(key, "v_parameterization", True, was=value, reason="The base model predicts v.")
    else:
        gathering.ignore(key, value, "It describes the file.")
