"""What is wrong with a run's network and the LoRA files that it names, before anything is loaded.

Covered: settings of the network that contradict each other; lists of blocks; files judged by their
headers; what other programs leave out of the result. Loads no torch. Not covered: what another kind of
network owns (see `idle` in `lora_core.settings`), and whether every layer of a file fits the base model,
which needs the model (see `network.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lora_core.engines.diffusers.network_blocks import block_problems
from lora_core.errors import LoraFileError, ModelError, Problem
from lora_core.loras import DROPS_DORA, LoraInfo, inspect
from lora_core.models import inspect_base
from lora_core.settings import NetworkSettings, RunConfig, setting
from lora_core.settings.concern_network import LYCORIS

_FAMILIES: Final = {"sd15": "sd1", "sdxl": "sdxl"}
_ITS_SHAPE: Final = {"dim_from_weights": True}
_TAKE_IT: Final = "Take the shape from that LoRA"
_KINDS: Final = {"lora": ("LoRA", "LoCon"), "locon": ("LoRA", "LoCon"), "loha": ("LoHa",), "lokr": ("LoKr",)}


def network_problems(run: RunConfig) -> list[Problem]:
    """Every contradiction in the network of `run`, and advice about files that it would make."""
    family = _family(run)
    return [
        *_dropouts(run.network),
        *_parts(run.network, family),
        *_blocks(run.network, family),
        *_files(run.network, family),
        *_advice(run.network),
    ]


def _blocks(settings: NetworkSettings, family: str | None) -> list[Problem]:
    if family not in _FAMILIES or settings.network_module == LYCORIS:  # which does not tell blocks apart
        return []
    return block_problems(settings, _FAMILIES[family])


def _family(run: RunConfig) -> str | None:
    try:
        return inspect_base(run.model.pretrained_model_name_or_path).family
    except ModelError:  # the checks of the model tell that
        return None


def _idle(key: str, why: str, fix: str) -> Problem:
    what, mend = f"It does nothing here: {why}", {key: setting(key).default}
    return Problem(
        setting=key, what=what, fix=f"{fix} or leave {key} out.", mend=mend, mend_label=f"Leave {key} out"
    )


def _dropouts(settings: NetworkSettings) -> Iterator[Problem]:
    if settings.network_module != LYCORIS:
        return
    if settings.network_dropout and (settings.dora_wd or settings.algo in {"loha", "lokr"}):
        why = "LyCORIS has no such dropout for LoHa, LoKr and DoRA."
        yield _idle("network_dropout", why, "Use module_dropout,")
    if settings.rank_dropout and settings.algo == "lokr":
        yield _idle("rank_dropout", "LyCORIS does not use it for LoKr.", "Use module_dropout,")


def _parts(settings: NetworkSettings, family: str | None) -> Iterator[Problem]:
    if settings.network_train_unet_only and settings.network_train_text_encoder_only:
        what = "Only the image part and only the text part are to be trained, so nothing is left."
        yield Problem(
            setting="network_train_text_encoder_only",
            what=what,
            fix="Turn off network_train_unet_only.",
            mend={"network_train_unet_only": False},
            mend_label="Train the text part only",
        )
    rates = settings.text_encoder_lr or ()
    if any(rate < 0 for rate in rates):
        yield Problem(
            setting="text_encoder_lr",
            what="A rate cannot be below 0.",
            fix="Use 0 or more.",
            mend={"text_encoder_lr": None},
            mend_label="Leave text_encoder_lr out",
        )
    most = 1 if family == "sd15" else 2
    if len(rates) > most:
        what = f"It has {len(rates)} rates, and the base model has {most} text part{'s' if most > 1 else ''}."
        yield Problem(
            setting="text_encoder_lr",
            what=what,
            fix=f"Write {most} at most.",
            mend={"text_encoder_lr": rates[:most]},
            mend_label=f"Keep the first {most}" if most > 1 else "Keep the first",
        )
    if rates and settings.network_train_unet_only:
        what = "It is not used: only the image part is trained."
        fix = "Turn off network_train_unet_only, or leave it out."
        yield Problem(
            setting="text_encoder_lr",
            what=what,
            fix=fix,
            severity="advice",
            mend={"text_encoder_lr": None},
            mend_label="Leave text_encoder_lr out",
        )


def _files(settings: NetworkSettings, family: str | None) -> Iterator[Problem]:
    built_in, multipliers = settings.base_weights or (), settings.base_weights_multiplier or ()
    if len(multipliers) > len(built_in):
        what = f"It has {len(multipliers)} numbers for {len(built_in)} LoRAs."
        kept = multipliers[: len(built_in)] or None
        yield Problem(
            setting="base_weights_multiplier",
            what=what,
            fix="Write one number for each LoRA.",
            mend={"base_weights_multiplier": kept},
            mend_label="Keep one number for each",
        )
    for path in built_in:
        yield from _file("base_weights", path, family)
    if settings.network_weights is None:
        if settings.dim_from_weights:
            fix = "Name a LoRA in network_weights,"
            yield _idle("dim_from_weights", "there is no LoRA to go on from.", fix)
        return
    found = list(_file("network_weights", settings.network_weights, family))
    yield from found or _shape(settings, inspect(settings.network_weights))


def _file(key: str, path: Path, family: str | None) -> Iterator[Problem]:
    try:
        info = inspect(path)
    except LoraFileError as error:
        yield Problem(setting=key, what=f"{error.what} {error.why}", fix=error.fix)
        return
    if family and info.family and info.family != family:
        what = f"The LoRA {path.name} was made for another family of base models ({info.family})."
        yield Problem(setting=key, what=what, fix=f"Use a LoRA for {family}.")


def _shape(settings: NetworkSettings, info: LoraInfo) -> Iterator[Problem]:
    """What of the LoRA to go on from is plainly not what is set."""
    lycoris = settings.network_module == LYCORIS
    if info.layout == "LyCORIS" and not lycoris:
        what = f"The LoRA to go on from is a {info.kind}."
        mend, label = {"network_module": LYCORIS}, f"Use {LYCORIS}"
        fix = f"Set network_module to {LYCORIS}."
        yield Problem(setting="network_module", what=what, fix=fix, mend=mend, mend_label=label)
    elif not settings.dim_from_weights:
        kinds = _KINDS.get(settings.algo, ()) if lycoris else _KINDS["lora"]
        if settings.dora_wd:
            kinds = ("DoRA",) if "LoRA" in kinds else tuple(f"DoRA on {kind}" for kind in kinds)
        if info.kind not in kinds:
            what = f"The LoRA to go on from is a {info.kind}, and the settings make another kind."
            fix = "Turn on dim_from_weights."
            yield Problem(setting="network_weights", what=what, fix=fix, mend=_ITS_SHAPE, mend_label=_TAKE_IT)
        elif info.rank is not None and info.rank != settings.network_dim and settings.block_dims is None:
            what = f"The LoRA to go on from has rank {info.rank}, and {settings.network_dim} is set."
            fix = "Turn on dim_from_weights, or set that rank."
            yield Problem(setting="network_dim", what=what, fix=fix, mend=_ITS_SHAPE, mend_label=_TAKE_IT)


def _advice(settings: NetworkSettings) -> Iterator[Problem]:
    if settings.block_alphas and len(set(settings.block_alphas.split(","))) > 1:
        what = "diffusers does not read alphas that differ between blocks. ComfyUI, A1111 and Forge do."
        fix = "Use one alpha and different ranks, if you draw with diffusers."
        yield Problem(
            setting="block_alphas",
            what=what,
            fix=fix,
            severity="advice",
            mend={"block_alphas": None},
            mend_label="Use one alpha",
        )
    if settings.network_module == LYCORIS and settings.dora_wd:
        fix = "Leave it on if you draw with one of those; else turn it off."
        yield Problem(
            setting="dora_wd",
            what=DROPS_DORA,
            fix=fix,
            severity="advice",
            mend={"dora_wd": False},
            mend_label="Turn off DoRA",
        )
