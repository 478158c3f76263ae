"""Arguments of the networks for SD3, FLUX, Chroma, Lumina, HunyuanImage and Anima, and of OFT.

Covered: types, hard limits and help of what these networks of sd-scripts take beside rank and alpha. Not
covered: what all networks have (see `concern_network.py`) and LyCORIS (see `concern_network_lycoris.py`).
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from lora_core.settings import _owners
from lora_core.settings._description import EVERY_UNET_FAMILY, SD_SCRIPTS, Advice, Concern, described

_ARGUMENT: Final[dict[str, Any]] = {"engines": (SD_SCRIPTS,), "level": "expert", "place": "network_args"}


_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    _owners.FLUX: ("flux1", "chroma"),
    _owners.SD3: ("sd3",),
    _owners.LUMINA: ("lumina",),
    _owners.HUNYUAN: ("hunyuan-image",),
    _owners.ANIMA: ("anima",),
    _owners.OFT: EVERY_UNET_FAMILY,
    _owners.OFT_FLUX: ("flux1", "chroma"),
}
"""The families that each network is made for."""


def _of(*networks: str) -> dict[str, Any]:
    """An argument that these networks own."""
    families = tuple(dict.fromkeys(family for network in networks for family in _FAMILIES[network]))
    return {**_ARGUMENT, "only": {"network_module": networks}, "families": families}


def _rank(label: str, where: str, network: str) -> Any:
    """A rank of its own for some layers; empty means the rank of all."""
    return described(
        None,
        label=label,
        what=f"A rank of its own for {where}. 0 leaves them out. If it is empty, the rank is used.",
        why="Leave it empty, unless a recipe names it.",
        higher="These layers hold more, and the file is larger.",
        lower="These layers hold less. At 0 they are not trained.",
        **_of(network),
        ge=0,
        le=4096,
    )


_SPLIT: Final = {"families": ("flux1", "chroma", "sd3", "hunyuan-image")}
_WHEN: Final = "Use it if you follow a recipe that names each block."
_LISTED: Final = "Write numbers and ranges from 0 on, such as `0-4,8`, or all or none."


class FluxNetwork(Concern):
    """What the networks of FLUX and Chroma take."""

    img_attn_dim: int | None = _rank(
        "FLUX: rank of attention for the image", "the attention layers of the image", _owners.FLUX
    )
    txt_attn_dim: int | None = _rank(
        "FLUX: rank of attention for the text", "the attention layers of the text", _owners.FLUX
    )
    img_mlp_dim: int | None = _rank(
        "FLUX: rank of MLP for the image", "the MLP layers of the image", _owners.FLUX
    )
    txt_mlp_dim: int | None = _rank(
        "FLUX: rank of MLP for the text", "the MLP layers of the text", _owners.FLUX
    )
    img_mod_dim: int | None = _rank(
        "FLUX: rank of modulation for the image", "the layers that steer the image by noise", _owners.FLUX
    )
    txt_mod_dim: int | None = _rank(
        "FLUX: rank of modulation for the text", "the layers that steer the text by noise", _owners.FLUX
    )
    single_dim: int | None = _rank(
        "FLUX: rank of single blocks", "the main layers of the single blocks", _owners.FLUX
    )
    single_mod_dim: int | None = _rank(
        "FLUX: rank of modulation in single blocks",
        "the layers that steer the single blocks by noise",
        _owners.FLUX,
    )
    in_dims: str | None = described(
        None,
        label="FLUX: ranks of the way in",
        what="Five ranks with commas between: for image, time, vector, guidance and text. 0 leaves one out. "
        "If it is empty, none of these layers is trained.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.FLUX),
    )
    train_blocks: (
        Literal["all", "single", "double", "transformer", "refiners", "noise_refiner", "context_refiner"]
        | None
    ) = described(
        None,
        label="Kinds of blocks to train",
        what="FLUX has double blocks and single blocks. Lumina has the transformer, and a refiner each "
        "for noise "
        "and context. If it is empty, all are trained.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.FLUX, _owners.LUMINA),
    )
    train_double_block_indices: str | None = described(
        None,
        label="FLUX: double blocks to train",
        what=f"Which of the 19 double blocks are trained. {_LISTED}",
        why=_WHEN,
        **_of(_owners.FLUX),
    )
    train_single_block_indices: str | None = described(
        None,
        label="FLUX: single blocks to train",
        what=f"Which of the 38 single blocks are trained. {_LISTED}",
        why=_WHEN,
        **_of(_owners.FLUX),
    )
    train_t5xxl: bool = described(
        False,
        label="Train T5 too",
        what="Trains the large text encoder as well. It needs both parts to be trained, and captions that "
        "are "
        "not read once.",
        why="Leave it off. It needs very much memory.",
        higher="T5 is trained too.",
        lower="T5 stays as it is.",
        **_of(_owners.FLUX, _owners.SD3),
    )
    split_qkv: bool = described(
        False,
        label="Split the layers of attention",
        what="Trains the parts of an attention layer on their own. The file has one part for each.",
        why="Leave it off, unless a recipe names it.",
        higher="Each part has numbers of its own, and the file is larger.",
        lower="The parts are trained as one.",
        # The network of Lumina reads it too, and then cannot save its file.
        **{**_of(_owners.FLUX, _owners.SD3, _owners.HUNYUAN, _owners.LUMINA), **_SPLIT},
    )
    ggpo_sigma: float | None = described(
        None,
        label="GGPO: noise by weight",
        what="Adds noise to each layer while it learns, by the size of its weights. It needs the other "
        "number of "
        "GGPO too. If one of the two is empty, this is off.",
        why="It can help against learning by heart. Recipes start with 0.03.",
        higher="More noise is added.",
        lower="Less noise is added.",
        **_of(_owners.FLUX, _owners.HUNYUAN),
        ge=0,
        advice=Advice(0.01, 0.1, "Recipes use 0.03."),
    )
    ggpo_beta: float | None = described(
        None,
        label="GGPO: noise by gradient",
        what="Adds noise to each layer while it learns, by the size of its gradients. It needs the other "
        "number "
        "of GGPO too. If one of the two is empty, this is off.",
        why="It can help against learning by heart. Recipes start with 0.01.",
        higher="More noise is added.",
        lower="Less noise is added.",
        **_of(_owners.FLUX, _owners.HUNYUAN),
        ge=0,
        advice=Advice(0.005, 0.05, "Recipes use 0.01."),
    )
    network_reg_dims: str | None = described(
        None,
        label="Ranks by name of layer",
        what="Gives layers a rank by a pattern of their names, such as `single_blocks=4,img_attn=8`. "
        "The first pattern that fits counts, and 0 leaves a layer out.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.FLUX, _owners.HUNYUAN, _owners.ANIMA),
    )
    network_reg_lrs: str | None = described(
        None,
        label="Rates by name of layer",
        what="Gives layers a learning rate by a pattern of their names, such as `single_blocks=0.0001`. "
        "The first pattern that fits counts.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.FLUX, _owners.HUNYUAN, _owners.ANIMA),
    )


class Sd3Network(Concern):
    """What the network of SD3 takes."""

    context_attn_dim: int | None = _rank(
        "SD3: rank of attention for the text", "the attention layers of the text", _owners.SD3
    )
    context_mlp_dim: int | None = _rank(
        "SD3: rank of MLP for the text", "the MLP layers of the text", _owners.SD3
    )
    context_mod_dim: int | None = _rank(
        "SD3: rank of modulation for the text", "the layers that steer the text by noise", _owners.SD3
    )
    x_attn_dim: int | None = _rank(
        "SD3: rank of attention for the image", "the attention layers of the image", _owners.SD3
    )
    x_mlp_dim: int | None = _rank(
        "SD3: rank of MLP for the image", "the MLP layers of the image", _owners.SD3
    )
    x_mod_dim: int | None = _rank(
        "SD3: rank of modulation for the image", "the layers that steer the image by noise", _owners.SD3
    )
    emb_dims: str | None = described(
        None,
        label="SD3: ranks of the ends",
        what="Six ranks with commas between: for text, time, image and vector on the way in, and for the two "
        "layers at the end. 0 leaves one out. If it is empty, none of them is trained.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.SD3),
    )
    train_block_indices: str | None = described(
        None,
        label="SD3: blocks to train",
        what=f"Which blocks are trained. {_LISTED}",
        why=_WHEN,
        **_of(_owners.SD3),
    )


class LuminaNetwork(Concern):
    """What the network of Lumina takes."""

    attn_dim: int | None = _rank("Lumina: rank of attention", "the attention layers", _owners.LUMINA)
    mod_dim: int | None = _rank(
        "Lumina: rank of modulation", "the layers that steer by noise", _owners.LUMINA
    )
    refiner_dim: int | None = _rank("Lumina: rank of refiners", "the layers of both refiners", _owners.LUMINA)
    embedder_dims: str | None = described(
        None,
        label="Lumina: ranks of the way in",
        what="Three ranks with commas between: for image, time and text. 0 leaves one out. If it is "
        "empty, none "
        "of these layers is trained.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.LUMINA),
    )


class AnimaNetwork(Concern):
    """What the network of Anima takes."""

    train_llm_adapter: bool = described(
        False,
        label="Anima: train the adapter",
        what="Trains the part between the text encoder and the image part as well.",
        why="Leave it off, unless a recipe names it.",
        higher="The adapter is trained too. Words can change their meaning.",
        lower="The adapter stays as it is.",
        **_of(_owners.ANIMA),
    )
    include_patterns: str | None = described(
        None,
        label="Anima: layers to train all the same",
        what="Patterns of names of layers that are trained even if others leave them out, as a list: "
        "`['.*final_layer.*']`.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.ANIMA),
    )
    exclude_patterns: str | None = described(
        None,
        label="Anima: layers to leave out",
        what="Patterns of names of layers that are not trained, as a list: `['.*mlp.*']`.",
        why="Leave it empty, unless a recipe names it.",
        **_of(_owners.ANIMA),
    )


class OftNetwork(Concern):
    """What OFT takes."""

    enable_all_linear: bool = described(
        False,
        label="OFT: all plain layers",
        what="Trains all the plain layers of the blocks, not those of attention alone.",
        why="Turn it on if OFT learns too little.",
        higher="OFT learns more, and the file is larger.",
        lower="OFT trains the layers of attention alone.",
        **_of(_owners.OFT, _owners.OFT_FLUX),
    )
    enable_conv: bool = described(
        False,
        label="OFT: image filters too",
        what="Trains the larger image filters (3 by 3) too.",
        why="Turn it on for shapes and styles where small forms count.",
        higher="OFT learns more, and the file is larger.",
        lower="The filters stay as they are.",
        **_of(_owners.OFT),
    )


class FamilyNetworkSettings(OftNetwork, AnimaNetwork, LuminaNetwork, Sd3Network, FluxNetwork):
    """What single networks take."""
