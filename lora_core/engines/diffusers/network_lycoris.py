"""LoHa, LoKr and DoRA: layers that lycoris-lora builds (Yeh et al., 2023; DoRA: Liu et al., 2024).

Which places get a layer, how it begins and what its parts are called is up to LyCORIS. Only three things
differ from its defaults, none of which changes what a layer means: what can do without the whole weight
adds its own answer to that of the module ("bypass"); where the whole weight is needed, for DoRA, it is
taken in float32, since bf16 would round most of a small change away, and is not kept for the backward pass;
and the start is drawn from the seed.

Covered: layers made anew, layers made from the tensors of a file, and the weight that a module has
with such a layer built in. Not covered: the other kinds that LyCORIS has; `checks.py` refuses them.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from lycoris.config import PRESET
from lycoris.kohya import LycorisNetworkKohya
from lycoris.modules import LoConModule, LokrModule, get_module, make_module
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lora_core.engines.diffusers.network_places import UNET, Base, Place, text_names, text_parts, unet_names
from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.errors import LoraFileError
from lora_core.settings import NetworkSettings

if TYPE_CHECKING:
    from lora_core.engines.diffusers.network import Placed

logging.getLogger("LyCORIS").setLevel(logging.ERROR)  # it tells every step of building on the terminal

_WHOLE_PRESET: Final[dict[str, Any]] = {
    "enable_conv": True,
    "unet_target_module": [],
    "unet_target_name": [],
    "text_encoder_target_module": [],
    "text_encoder_target_name": [],
    "module_algo_map": {},
    "name_algo_map": {},
    "use_fnmatch": False,
    "exclude_name": [],
}
"""Every entry, because LyCORIS keeps what the last preset set and the next one does not name."""

_LOKR_PARTS: Final = (
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"
)  # fmt: skip
_BLOCKS: Final = {
    "Transformer2DModel": "Transformer2DModel",
    "ResnetBlock2D": "ResnetBlock2D",
    "Downsample2D": "Downsample2D",
    "Upsample2D": "Upsample2D",
    "CrossAttention": "Attention",
}
"""Blocks of SD 1.x and SDXL: their names in sd-scripts, for which the presets are made, and in diffusers."""


class LycorisLayer:
    """One layer of LyCORIS, with what a network asks of it."""

    def __init__(self, module: Any) -> None:
        self.module = module
        if module.wd:
            module.forward = partial(_dora, module)

    def attach(self) -> None:
        """Let the module of the base model answer through this layer."""
        self.module.apply_to()

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trained weights, by the ends of their names in a file."""
        yield from self.module.named_parameters()

    def contents(self) -> dict[str, Tensor]:
        """All that a file holds of this layer, by the ends of the names."""
        return {name: tensor.detach() for name, tensor in self.module.custom_state_dict().items()}

    @torch.no_grad()
    def limit_norm(self, most: float) -> None:
        """Shrink what the layer adds to this norm, if it is larger, by LyCORIS' own rule."""
        self.module.apply_max_norm(most)
        if isinstance(self.module.scalar, nn.Parameter):  # learned, and so a part of every state
            return
        # LyCORIS keeps the factor apart, where no file has it; a resumed run would go on otherwise.
        for name, weight in self.trained():
            if name in {"lora_up.weight", "hada_w1_a"}:
                weight.mul_(self.module.scalar)
        self.module.scalar.fill_(1)

    def train(self, mode: bool = True) -> None:
        """Let dropouts act, or rest."""
        self.module.train(mode)

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.module.to(device)


def _dora(module: Any, x: Tensor) -> Tensor:
    """The answer of a module with DoRA. Only `x` is kept for the backward pass.

    The whole weight is put together in float32, several times over. Kept for each layer, these copies are
    larger than the base model, so they are made a second time when the backward pass needs them.
    """
    answer: Tensor = module.org_forward(x)
    if module.training and module.module_dropout and float(torch.rand(1)) < module.module_dropout:
        return answer
    draws = bool(module.training and module.rank_dropout)
    added: Tensor = checkpoint(_dora_added, module, x, use_reentrant=False, preserve_rng_state=draws)
    return answer + added


def _dora_added(module: Any, x: Tensor) -> Tensor:
    weight = module.org_module[0].weight.detach().float()
    whole: Tensor = module.apply_weight_decompose(weight + _change(module), 1.0)
    added: Tensor = module.op(x, (whole - weight).to(x.dtype), None, **module.kw_dict)
    return added


def _change(module: Any) -> Tensor:
    """What a layer adds to the weight of its module, in float32."""
    change: Tensor
    if isinstance(module, LoConModule):
        change = module.make_weight(module.org_module[0].weight.device) * module.scale
    else:
        change = module.get_weight(module.shape).to(module.org_module[0].weight.device) * module.scalar
    return change


def lycoris_layers(
    base: Base,
    settings: NetworkSettings,
    seed: int,
    parts: Sequence[str],
    given: Mapping[str, Tensor] | None,
) -> "list[Placed]":
    """The layers of a run on these parts; with `dim_from_weights`, those that the file has.

    Raises:
        LoraFileError: the file is of another kind or does not fit the base model.
    """
    from lora_core.engines.diffusers.network import Placed

    known = _places(base)
    with torch.random.fork_rng(devices=[]):  # LyCORIS draws its start from torch's own stream
        torch.manual_seed(int(generator(seed, Purpose.NETWORK, 0).integers(2**63)))
        if settings.dim_from_weights and given is not None:
            made = [layer for layer in layers_of(base, given) if known[id(layer.org_module[0])].part in parts]
        else:
            made = _new_layers(base, settings, parts)
    return [Placed(known[id(module.org_module[0])], LycorisLayer(module)) for module in made]


def _places(base: Base) -> dict[int, Place]:
    """Every linear layer and convolution of the base model, by its identity."""
    names = [(UNET, base.unet, unet_names(base))]
    names += [(part, encoder, text_names(part, encoder)) for part, encoder in text_parts(base).items()]
    return {
        id(module): Place(part, keys[name], module, False)
        for part, model, keys in names
        for name, module in model.named_modules()
        if name in keys
    }


def _new_layers(base: Base, settings: NetworkSettings, parts: Sequence[str]) -> list[Any]:
    LycorisNetworkKohya.apply_preset(_preset(settings.preset, base.family))
    encoders = [encoder for part, encoder in text_parts(base).items() if part in parts]
    network = LycorisNetworkKohya(
        encoders,
        base.unet if UNET in parts else nn.Module(),
        lora_dim=settings.network_dim,
        conv_lora_dim=settings.conv_dim or settings.network_dim,
        alpha=settings.network_alpha,
        conv_alpha=settings.conv_alpha or settings.network_alpha,
        dropout=settings.network_dropout or 0.0,
        rank_dropout=settings.rank_dropout or 0.0,
        module_dropout=settings.module_dropout or 0.0,
        network_module=settings.algo,
        use_tucker=settings.use_tucker,
        use_scalar=settings.use_scalar,
        weight_decompose=settings.dora_wd,
        wd_on_out=settings.wd_on_output,
        bypass_mode=not settings.dora_wd,
        factor=settings.factor,
        decompose_both=settings.decompose_both,
        full_matrix=settings.full_matrix,
        unbalanced_factorization=settings.unbalanced_factorization,
        rs_lora=settings.rs_lora,
        warn_on_unmatched=False,
    )
    return [*network.unet_loras, *network.text_encoder_loras]


def _preset(name: str, family: str) -> dict[str, Any]:
    """LyCORIS' preset of this name, for these families alone."""
    preset = {**_WHOLE_PRESET, **PRESET[name]}
    # It names the blocks of every family, and one of them is another's name for SD 1.x's outer layers.
    blocks = [_BLOCKS[block] for block in preset["unet_target_module"] if block in _BLOCKS]
    # Outer layers have other names in SDXL, so LyCORIS does not find them there.
    outer = preset["unet_target_name"] if family == "sd1" else []
    return {**preset, "unet_target_module": blocks, "unet_target_name": outer}


def layers_of(base: Base, tensors: Mapping[str, Tensor]) -> list[Any]:
    """LyCORIS' layers for the tensors of a file (its own names and kinds, plain LoRA among them).

    Raises:
        LoraFileError: a layer has no place in this base model or does not fit it; nothing was changed.
    """
    known = {place.key: place for place in _places(base).values()}
    keys = dict.fromkeys(name.partition(".")[0] for name in tensors)
    if strange := [key for key in keys if key not in known]:
        raise _unfitting(f"This base model has no place for {len(strange)} layers, such as {strange[0]}.")
    return [_layer_of(known[key], tensors) for key in keys]


def _layer_of(place: Place, tensors: Mapping[str, Tensor]) -> Any:
    scale = tensors.get(f"{place.key}.dora_scale")
    mine = {name: tensor.float() for name, tensor in tensors.items() if name.startswith(f"{place.key}.")}
    mine.pop(f"{place.key}.dora_scale", None)
    mine.setdefault(f"{place.key}.alpha", torch.tensor(float(_rank(place.key, mine))))
    kind, values = get_module(mine, place.key)
    if kind is None:
        raise _unfitting(f"The layer {place.key} is of a kind that this app does not know.")
    try:
        lokr = kind is LokrModule
        module = _lokr(place, mine) if lokr else make_module(kind, values, place.key, place.module)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise _unfitting(f"The layer {place.key} does not fit the base model.") from error
    outputs, inputs, *around = place.module.weight.shape
    ones = [1] * len(around)
    sizes = (None, (outputs, 1, *ones), (1, inputs, *ones))
    if (
        module is None
        or tuple(module.shape) != (outputs, inputs, *around)
        or (scale if scale is None else tuple(scale.shape)) not in sizes
    ):
        raise _unfitting(f"The layer {place.key} does not fit the base model.")
    module.bypass_mode = scale is None
    if scale is not None:
        # LyCORIS itself only makes those that keep one size for each output.
        module.wd, module.wd_on_out = True, scale.shape[0] == outputs
        module.dora_norm_dims = place.module.weight.dim() - 1
        module.dora_scale = nn.Parameter(scale.float().clone())
    return module


@torch.no_grad()
def _lokr(place: Place, tensors: Mapping[str, Tensor]) -> Any:
    """A LoKr layer with these very parts.

    LyCORIS (4.1.3) works out from the parts how a layer was cut and fails for many convolutions, and
    for whatever was cut unevenly.
    """
    parts = {name: tensors.get(f"{place.key}.{name}") for name in _LOKR_PARTS}
    rank, alpha = _rank(place.key, tensors), float(tensors[f"{place.key}.alpha"])
    module = LokrModule(place.key, place.module, 1.0, rank, alpha)
    for name, tensor in parts.items():
        module._parameters.pop(name, None)
        if tensor is not None:
            setattr(module, name, nn.Parameter(tensor.clone()))
    module.use_w1, module.use_w2 = parts["lokr_w1"] is not None, parts["lokr_w2"] is not None
    module.tucker = parts["lokr_t2"] is not None
    module.scale = 1.0 if module.use_w1 and module.use_w2 else alpha / rank
    module.alpha.fill_(alpha)
    module.get_weight(module.shape)  # fails if the parts make another shape
    return module


def _rank(key: str, tensors: Mapping[str, Tensor]) -> int:
    for end in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if (tensor := tensors.get(f"{key}.{end}")) is not None:
            return len(tensor)
    return 1


def _unfitting(why: str) -> LoraFileError:
    return LoraFileError(
        "These LoRA weights were not loaded.",
        why=why,
        fix="Use a LoRA of the same family of base models.",
    )


@torch.no_grad()
def merged_weight(module: Any, multiplier: float) -> Tensor:
    """The weight of the module that `module` sits on, with the layer built in, in float32.

    LyCORIS' own merge scales LoHa and LoKr twice by alpha / rank (4.1.3), so it is not used.
    """
    weight: Tensor = module.org_module[0].weight.detach().float()
    change = _change(module)
    if module.wd:
        decomposed: Tensor = module.apply_weight_decompose(weight + change, multiplier)
        return decomposed
    return weight + change * multiplier
