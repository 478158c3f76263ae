"""What sd-scripts takes besides the settings described here, and what to say about a name.

Covered: the engine's own list of arguments by script (data, read from its parsers), which of them the app
decides itself, which do nothing, which another one says, which change nothing in a result, and the nearest
known name for a slip of the pen. With the descriptions, these are all that its LoRA scripts take.
Not covered: descriptions (see the `concern_*` modules); nothing here repeats them.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

DATA_FILE: Final = Path(__file__).with_name("sd_scripts_arguments.json")
Table = Literal["arguments", "dataset", "subset"]

SCRIPTS: Final[Mapping[str, str]] = {
    "sd15": "train_network",
    "sd2": "train_network",
    "sdxl": "sdxl_train_network",
    "sd3": "sd3_train_network",
    "flux1": "flux_train_network",
    "chroma": "flux_train_network",
    "lumina": "lumina_train_network",
    "hunyuan-image": "hunyuan_image_train_network",
    "anima": "anima_train_network",
}
"""Each family with the script of sd-scripts that trains a LoRA for it."""

APP_DECIDES: Final[Mapping[str, str]] = {
    "output_dir": "the app keeps the files of a run in the folder of its job",
    "logging_dir": "the app keeps the logs of a run in the folder of its job",
    "log_with": "the app always logs for TensorBoard",
    "log_prefix": "the app names the folder of the logs",
    "log_tracker_name": "the app names the folder of the logs",
    "log_tracker_config": "the app sets up the logs",
    "log_config": "the settings of a run are kept in the folder of its job",
    "console_log_level": "the app keeps the whole log",
    "console_log_file": "the app keeps the whole log",
    "console_log_simple": "the app keeps the whole log",
    "dataset_config": "the dataset file is read together with this one",
    "config_file": "this is the file itself",
    "wandb_run_name": "the app always logs for TensorBoard",
    "wandb_api_key": "the app always logs for TensorBoard, and keeps no keys in files",
    "output_config": "sd-scripts would write its settings and not train",
    "debug_dataset": "sd-scripts would show its images and not train",
    "train_data_dir": "the dataset file names the images",
    "reg_data_dir": "the dataset file names the images",
    "in_json": "the dataset file names the images",
    "dataset_class": "the dataset file names the images, and no code of others is run",
    "huggingface_token": "the app keeps no keys in files, and a machine can be logged in",
    "resume_from_huggingface": "the app goes on from the states in the folder of a run",
}
"""Arguments that a hand-written file may hold and the app sets itself, with what it does instead."""

_DOES_NOT_WORK: Final = "sd-scripts itself says that it does not work."
_WHOLE_MODELS: Final = "sd-scripts uses it for training whole models, and not for a LoRA."
DOES_NOTHING: Final[Mapping[str, str]] = {
    "save_clip": _DOES_NOT_WORK,
    "save_t5xxl": _DOES_NOT_WORK,
    "t5xxl_device": _DOES_NOT_WORK,
    "t5xxl_dtype": _DOES_NOT_WORK,
    "fused_backward_pass": _WHOLE_MODELS,
    "self_attn_lr": _WHOLE_MODELS,
    "cross_attn_lr": _WHOLE_MODELS,
    "mlp_lr": _WHOLE_MODELS,
    "mod_lr": _WHOLE_MODELS,
    "llm_adapter_lr": _WHOLE_MODELS,
    "llm_adapter_path": "sd-scripts takes the adapter from the file of the base model.",
    "controlnet_model_name_or_path": "sd-scripts takes no such model into account for a LoRA.",
    "network_multiplier": "sd-scripts trains every LoRA at full strength.",
}
"""What LoRA scripts take and never look at, with the reason. Where only some families do so, the description
of a setting says which they are."""

SAID_BY: Final[Mapping[str, tuple[str, Any]]] = {
    "use_8bit_adam": ("optimizer_type", "AdamW8bit"),
    "use_lion_optimizer": ("optimizer_type", "Lion"),
    "split_mode": ("blocks_to_swap", 18),
    "caption_extention": ("caption_extension", None),
}
"""Old switches, with the setting that says the same today and its value; None for the value that is given."""

CHANGES_NO_RESULT: Final = frozenset({
    "async_upload", "cache_info", "ddp_gradient_as_bucket_view", "ddp_static_graph", "ddp_timeout",
    "disable_mmap_load_safetensors", "dynamo_backend", "highvram", "lowram", "max_data_loader_n_workers",
    "mem_eff_attn", "persistent_data_loader_workers", "sdpa", "skip_cache_check", "xformers",
})  # fmt: skip
"""Arguments about speed and memory only: an engine without them trains the same LoRA."""

OLD_NAMES: Final[Mapping[str, str]] = {
    "lr_warmup_ratio": "lr_warmup_steps",
    "keep_only_last_n_epochs": "save_last_n_epochs",
    "lr_power": "lr_scheduler_power",
    "clip_l_path": "clip_l",
    "t5xxl_path": "t5xxl",
    "text_encoder_lr1": "text_encoder_lr",
    "text_encoder_lr2": "text_encoder_lr",
    "learning_rate_unet": "unet_lr",
    "dim": "network_dim",
    "rank": "network_dim",
    "alpha": "network_alpha",
    "repeats": "num_repeats",
}
"""Names that older tools write and sd-scripts ignores without a word, with the real ones."""

_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "table": (dict,),
}
_WORDS: Final[Mapping[str, str]] = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "table": "a table",
}


@cache
def tables() -> Mapping[Table, Mapping[str, tuple[str, Any]]]:
    """Each list of the engine: name -> (type, default)."""
    data = json.loads(DATA_FILE.read_text("utf-8"))
    # Where scripts begin with different values, the last one stands here; `by_script` has them all.
    everything = {key: entry for script in data["scripts"].values() for key, entry in script.items()}
    lists: dict[Table, Any] = {
        "arguments": {**everything, **data["arguments"]},
        "dataset": data["dataset"],
        "subset": data["subset"],
    }
    return {
        name: {key: (kind, default) for key, (kind, default) in entries.items()}
        for name, entries in lists.items()
    }


@cache
def by_script() -> Mapping[str, Mapping[str, tuple[str, Any]]]:
    """Each LoRA script of the engine: all that it takes, name -> (type, default)."""
    data = json.loads(DATA_FILE.read_text("utf-8"))
    some = {key for script in data["scripts"].values() for key in script}
    common = {key: entry for key, entry in data["arguments"].items() if key not in some}
    return {
        script: {key: (kind, default) for key, (kind, default) in {**common, **own}.items()}
        for script, own in data["scripts"].items()
    }


def engine_commit() -> str:
    """The commit of sd-scripts that the lists were read from."""
    return str(json.loads(DATA_FILE.read_text("utf-8"))["commit"])


def wrong_type(table: Table, key: str, value: Any) -> str | None:
    """What type `key` needs, in words, if `value` has another; sd-scripts itself would not look."""
    kind, default = tables()[table][key]
    allowed = _PYTHON_TYPES[kind]
    if kind == "int" and isinstance(default, float):
        allowed = (int, float)
    if key == "lr_decay_steps":  # whole steps, or a share of the run
        allowed = (int, float)
    fits = isinstance(value, allowed) and (bool in allowed or not isinstance(value, bool))
    return None if fits else _WORDS[kind]


def has_no_effect(table: Table, key: str, value: Any) -> bool:
    """True when `value` is what the engine does anyway, so that leaving it out changes nothing."""
    _, default = tables()[table][key]
    return bool(value == default and isinstance(value, bool) == isinstance(default, bool)) or value in (
        "",
        [],
    )


def nearest(key: str, names: Iterable[str]) -> str | None:
    """The known name that was most likely meant, if one is close."""
    if key in OLD_NAMES:
        return OLD_NAMES[key]
    plain = key.strip().lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(plain[:80], list(names), n=1, cutoff=0.72)
    return close[0] if close else None
