"""The kinds of LoRA of the kohya_ss GUI: which network each is, and which fields count for it.

Covered: what the GUI's LoRA tab writes into `network_module` and `network_args` at commit 45088f0.
Not covered: networks of other families, which are named and left out.
"""

from collections.abc import Mapping
from typing import Any, Final

from lora_core.settings._read import literal
from lora_core.settings._values import checked
from lora_core.settings.imports._gather import Gathering, fitted
from lora_core.settings.imports._report import brief
from lora_core.settings.run import catalogue, setting

_DROPOUT: Final = ("rank_dropout", "module_dropout")
_BLOCKS: Final = (
    "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims",
    "block_alphas", "conv_block_dims", "conv_block_alphas", "rank_dropout", "module_dropout",
)  # fmt: skip
_LYCORIS: Final = ("LyCORIS_preset", "conv_dim", "conv_alpha", "rank_dropout", "module_dropout")
_MORE: Final = ("use_tucker", "rank_dropout_scale", "train_norm")
_FULL: Final = (*_LYCORIS, *_MORE, "bypass_mode", "dora_wd", "use_scalar")

_KINDS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    # kind -> network_module, algo of LyCORIS, fields that count
    "Standard": ("networks.lora", "", _BLOCKS),
    "Kohya LoCon": ("networks.lora", "", (*_BLOCKS, "conv_dim", "conv_alpha")),
    "LoRA-FA": ("networks.lora_fa", "", _BLOCKS),
    "Kohya DyLoRA": ("networks.dylora", "", (*_BLOCKS, "conv_dim", "conv_alpha", "unit")),
    "Kohya LoHa": ("networks.loha", "", ("conv_dim", "conv_alpha", "use_tucker", *_DROPOUT)),
    "Kohya LoKr": (
        "networks.lokr", "", ("conv_dim", "conv_alpha", "use_tucker", "factor", *_DROPOUT),
    ),
    "LoCon": ("lycoris.kohya", "locon", _FULL),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon", _FULL),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha", (*_FULL, "use_cp")),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr", (*_FULL, "use_cp", "factor", "decompose_both")),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3", ("LyCORIS_preset", "conv_dim", "conv_alpha", "train_on_input")),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora", (*_LYCORIS, *_MORE)),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora", (*_LYCORIS, "use_tucker", "train_norm", "unit")),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft", (*_LYCORIS, *_MORE)),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft", (*_LYCORIS, *_MORE, "constrain", "rescaled")),
    "LyCORIS/Native Fine-Tuning": (
        "lycoris.kohya", "full", ("LyCORIS_preset", *_DROPOUT, "rank_dropout_scale", "train_norm"),
    ),
}  # fmt: skip
_OTHER_FAMILIES: Final = frozenset({"Flux1", "Flux1 OFT", "HunyuanImage-2.1", "Anima", "Lumina"})
_AS: Final[Mapping[str, str]] = {
    "LyCORIS_preset": "preset",
    "constrain": "constraint",
    "use_cp": "use_tucker",
}
_RATIOS: Final = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")

NETWORK_KEYS: Final = frozenset({
    "LoRA_type", "network_dim", "conv_dims", "conv_alphas", *_RATIOS,
    *(field for _, _, fields in _KINDS.values() for field in fields),
})  # fmt: skip
"""Every key that `take_network` takes care of."""


def take_network(gathering: Gathering, table: Mapping[str, Any]) -> None:
    """Take the kind of network and its arguments."""
    kind = str(table.get("LoRA_type", "Standard"))
    module, algo, counts = _KINDS.get(kind, ("", "", ()))
    module, counts = _take_kind(gathering, table, kind, module, algo, counts)
    for key in (key for key in table if key in NETWORK_KEYS - {"LoRA_type", "network_dim", *_RATIOS}):
        value = table[key]
        if key not in counts:
            gathering.ignore(key, value, f"The GUI leaves it out for the kind {brief(kind)}.")
        elif value in ("", None, False) or literal(str(value)) == 0:
            _off(gathering, key, value, lycoris=bool(algo))
        elif key == "unit" and algo:
            gathering.item("network_args", f"block_size={value}", key)
        else:
            _argument(gathering, key, value)
    for key in (key for key in _RATIOS if key in table):
        if literal(str(table[key] or 0)) == 0:
            gathering.ignore(key, table[key], "It is empty or off there, and the GUI leaves it out.")
        else:
            _argument(gathering, key, table[key])
    if "network_dim" in table:
        _take_rank(gathering, table["network_dim"], algo)


def _take_kind(
    gathering: Gathering, table: Mapping[str, Any], kind: str, module: str, algo: str, counts: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """The module, and the fields that count; for a kind that this app lacks, those of a plain LoRA."""
    if "LoRA_type" not in table:
        return module, counts
    known_algo = not algo or checked(setting("algo"), algo).problem is None
    if module and known_algo:
        reason = f"sd-scripts calls it {module}" + (f" with algo={algo}." if algo else ".")
        gathering.take("LoRA_type", "network_module", module, was=kind, reason=reason)
        if algo:
            gathering.take("LoRA_type", "algo", algo, was=kind, reason="It is a method of LyCORIS.")
        return module, counts
    if module or kind in _OTHER_FAMILIES:
        what = "is for another family of models" if kind in _OTHER_FAMILIES else "is not in this app"
        gathering.ignore("LoRA_type", kind, f"This kind of network {what}. A plain LoRA is set in its place.")
        gathering.notes.append(
            f"Its kind of network, {brief(kind)}, {what}. A plain LoRA is set in its place: "
            "look at the learning rates before you train."
        )
        return "", ("rank_dropout", "module_dropout")
    gathering.left("LoRA_type", kind, "There is no such kind of network.")
    return "", counts


def _off(gathering: Gathering, key: str, value: Any, *, lycoris: bool) -> None:
    # LyCORIS takes the rank for convolutions too, unless it is told 0.
    kept = lycoris and key == "conv_dim" and value != ""
    s = next((s for s in catalogue() if s.key == _AS.get(key, key)), None)
    if (
        s is not None
        and s.key not in gathering.values
        and fitted(s, value).problem is None
        and key != "use_cp"
    ):
        gathering.take(key, s.key, None if s.optional and not kept else value, was=value)
    else:
        gathering.ignore(key, value, "It is empty or off there, and the GUI leaves it out.")


def _argument(gathering: Gathering, key: str, value: Any) -> None:
    """One argument of the network, under the name that the network gives it."""
    name = _AS.get(key, key)
    s = next((s for s in catalogue() if s.key == name and s.place == "network_args"), None)
    reason = "" if name == key else f"The network calls it {name}."
    if key == "conv_dim" and s is not None and fitted(s, value).problem is not None:
        gathering.ignore(
            key, value, "It is above every rank, which means no rank at all; full_matrix says so."
        )
    elif s is not None:
        gathering.take(key, s.key, value, reason=reason)
    else:
        gathering.item("network_args", f"{name}={value}", key)


def _take_rank(gathering: Gathering, value: Any, algo: str) -> None:
    if algo == "lokr" and fitted(setting("network_dim"), value).problem is not None:
        reason = "It is above every rank, which means no rank at all; full_matrix says so."
        gathering.take("network_dim", "full_matrix", True, was=value, reason=reason)
    else:
        gathering.take("network_dim", "network_dim", value)
