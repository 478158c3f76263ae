"""The network: all layers that a run trains, on the UNet and on the text encoders.

Which places of the base model get a layer, at which rank and with which names, is what sd-scripts at
48d368f does, so that a file trained here has the same layers as one trained there: `networks.lora` for
LoRA and LoCon, `lycoris.kohya` for LoHa, LoKr and DoRA. A layer sits on its module by answering in its
place; the base model keeps all of its weights, their names and their number types.

Covered: putting the layers in, their groups for the optimizer, dropouts that a resumed run repeats,
the norm limit, the tensors of a file out and in. Not covered: the layers themselves (`lora_layer.py`,
`network_lycoris.py`), files (`lora_file.py`), building LoRAs into the base model (`merging.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from lora_core.engines.diffusers.lora_file import read_lora
from lora_core.engines.diffusers.lora_layer import UP, Dropout, LoraLayer, Size
from lora_core.engines.diffusers.merging import apply_lora
from lora_core.engines.diffusers.network_blocks import Blocks, blocks_of
from lora_core.engines.diffusers.network_places import (
    UNET,
    Base,
    Place,
    block_number,
    places,
    text_parts,
    with_own_names,
)
from lora_core.engines.diffusers.noise import Purpose, generator
from lora_core.errors import LoraFileError, Problem, SettingsError
from lora_core.settings import NetworkSettings, OptimizerSettings
from lora_core.settings.concern_network import LYCORIS

_SEEDS: Final = 2**63


class Layer(Protocol):
    """What a network asks of a layer, of whatever kind."""

    def attach(self) -> None:
        """Let the module of the base model answer through this layer."""

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trained weights, by the ends of their names in a file."""

    def contents(self) -> dict[str, Tensor]:
        """All that a file holds of this layer, by the ends of the names."""

    def limit_norm(self, most: float) -> None:
        """Shrink what the layer adds to this norm, if it is larger."""

    def train(self, mode: bool = True) -> Any:
        """Let dropouts act, or rest."""

    def to(self, device: torch.device) -> Any:
        """Move the weights."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer and the place that it sits on."""

    place: Place
    layer: Layer


class Network:
    """The layers of one run."""

    def __init__(self, base: Base, settings: NetworkSettings, seed: int) -> None:
        """Freeze `base` and put float32 layers on it that change nothing yet, or what `network_weights` says.

        With `base_weights`, those LoRAs become a part of `base` first.

        Raises:
            LoraFileError: a file cannot be read or does not fit; no layer was put in.
            SettingsError: a list of blocks does not fit the family.
        """
        self._seed, self._family, self._settings = seed, base.family, settings
        blocks = blocks_of(settings, base.family)
        for model in (base.unet, *base.text_encoders):
            model.requires_grad_(False)
        given = _given(base, settings.network_weights)
        multipliers = settings.base_weights_multiplier or ()
        for number, path in enumerate(settings.base_weights or ()):
            apply_lora(base, path, multipliers[number] if number < len(multipliers) else 1.0)
        parts = _trained_parts(settings, base)
        if settings.network_module == LYCORIS:
            # Here and not above: most runs do not need it, and it takes seconds to load.
            from lora_core.engines.diffusers.network_lycoris import lycoris_layers

            self.placed = lycoris_layers(base, settings, seed, parts, given)
        else:
            wanted = [place for place in places(base) if place.part in parts]
            sizes = _sizes_in(given) if settings.dim_from_weights and given else None
            self.placed = list(_plain_layers(wanted, settings, blocks, sizes, seed, base.family))
        """The layers, those of the UNet first."""
        self._check_parts(parts)
        self._rates = blocks.rates
        if given is not None:
            self._take_over(given, settings)
        for placed in self.placed:
            placed.layer.attach()

    def _check_parts(self, parts: Sequence[str]) -> None:
        """Each part that is to be trained must have layers, or it would not be trained without a word."""
        lacking = [part for part in parts if all(placed.place.part != part for placed in self.placed)]
        if not lacking:
            return
        name = "image part" if UNET in lacking else "text part"
        if self._settings.dim_from_weights and self._settings.network_weights:
            raise LoraFileError(
                f"The LoRA {self._settings.network_weights.name} cannot be gone on with.",
                why=f"It has no layers of this kind for the {name}, which is to be trained.",
                fix="Train only the parts that it has, with its kind of network.",
            )
        what = f"No layer of the {name} is left to be trained."
        fix = "Give at least one block a rank and a rate, or do not train that part."
        raise SettingsError([Problem(setting="network_module", what=what, fix=fix)])

    def _take_over(self, given: Mapping[str, Tensor], settings: NetworkSettings) -> None:
        """The weights of `network_weights`; a part that the file leaves out entirely starts anew."""
        parts = {placed.place.part for placed in self.placed if f"{placed.place.key}.alpha" in given}
        mine = self.state()
        fresh = [p.place.key for p in self.placed if p.place.part not in parts]
        kept = {name: tensor for name, tensor in mine.items() if name.partition(".")[0] in fresh}
        try:
            self.load({**kept, **given})
        except LoraFileError as error:
            name = settings.network_weights.name if settings.network_weights else ""
            fix = "Train the same parts with the same kind of network, on the same family of base models."
            if not settings.dim_from_weights:
                fix = f"Turn on dim_from_weights, which takes the shape from the file. {fix}"
            raise LoraFileError(f"The LoRA {name} cannot be gone on with.", why=error.why, fix=fix) from error

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All weights that the optimizer moves."""
        return [weight for placed in self.placed for _, weight in placed.layer.trained()]

    @property
    def trains_text(self) -> bool:
        """True when a text encoder learns; captions must then be read anew at each step."""
        return any(
            weight.requires_grad
            for placed in self.placed
            if placed.place.part != UNET
            for _, weight in placed.layer.trained()
        )

    def groups(self, optimizer: OptimizerSettings) -> list[dict[str, Any]]:
        """The weights in groups of one rate each: `params`, `lr`, and `name` as sd-scripts logs it.

        With LoRA+ (Hayou et al., 2024) the up weights of a part are a group of their own. Weights whose
        rate is 0 are in no group and learn nothing, unless that is so for all.
        """
        found: dict[str, tuple[float, list[nn.Parameter]]] = {}
        for placed in self.placed:
            name, rate = self._group(placed.place, optimizer)
            ratio = self._plus(placed.place)
            for end, weight in placed.layer.trained():
                group, its_rate = (f"{name} plus", rate * ratio) if ratio and end == UP else (name, rate)
                found.setdefault(group, (its_rate, []))[1].append(weight)
        moving = {name: group for name, group in found.items() if group[0] > 0} or found
        for name, (_, weights) in found.items():
            for weight in weights:
                weight.requires_grad_(name in moving)
        return [{"params": weights, "lr": rate, "name": name} for name, (rate, weights) in moving.items()]

    def _plus(self, place: Place) -> float | None:
        """How many times as fast the up weights on `place` learn; None where all learn alike."""
        settings = self._settings
        own = (
            settings.loraplus_unet_lr_ratio if place.part == UNET else settings.loraplus_text_encoder_lr_ratio
        )
        return own or settings.loraplus_lr_ratio

    def _group(self, place: Place, optimizer: OptimizerSettings) -> tuple[str, float]:
        if place.part != UNET:
            rates = self._settings.text_encoder_lr or (optimizer.learning_rate,)
            if place.part == "te2":
                return "textencoder 2", rates[-1]
            return ("textencoder 1" if place.part == "te1" else "textencoder"), rates[0]
        rate = optimizer.learning_rate if optimizer.unet_lr is None else optimizer.unet_lr
        if self._rates is None:
            return UNET, rate
        number = block_number(place.key, self._family)
        if number is None:  # outside of all blocks; only LyCORIS has layers there
            return UNET, rate
        return f"unet_block{number}", rate * self._rates[number]

    def to(self, device: torch.device) -> None:
        """Move the layers to where the base model works; call it before the optimizer is made."""
        for placed in self.placed:
            placed.layer.to(device)

    def seed_dropout(self, step: int, first: int) -> None:
        """Make the dropouts of the batch whose first sample is number `first` of `step` repeatable.

        They draw from torch's own stream, which gradient checkpointing winds back by itself when it
        computes a second time. Nothing else in a run draws from that stream.
        """
        if self._draws:
            torch.manual_seed(int(generator(self._seed, Purpose.DROPOUT, step, first).integers(_SEEDS)))

    @property
    def _draws(self) -> bool:
        settings = self._settings
        return bool(settings.network_dropout or settings.rank_dropout or settings.module_dropout)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Without dropouts, for tests and samples in between."""
        self._train(False)
        try:
            yield
        finally:
            self._train(True)

    def _train(self, mode: bool) -> None:
        for placed in self.placed:
            placed.layer.train(mode)

    def limit_norms(self, most: float) -> None:
        """Shrink each layer that adds more than the norm `most` to its module (`scale_weight_norms`)."""
        with self.resting():
            for placed in self.placed:
                placed.layer.limit_norm(most)

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """All layers as the tensors of a file, on the CPU and independent of the training."""
        return {
            f"{placed.place.key}.{name}": tensor.to("cpu", dtype, copy=True).contiguous()
            for placed in self.placed
            for name, tensor in placed.layer.contents().items()
        }

    def state(self) -> dict[str, Tensor]:
        """All weights as they are trained, on the CPU; a file has a learned scale multiplied in."""
        trained = {
            f"{placed.place.key}.{name}": weight.detach().to("cpu", copy=True).contiguous()
            for placed in self.placed
            for name, weight in placed.layer.trained()
        }
        return {**self.tensors(), **trained}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the layers the weights in `tensors`: the state or the file of this very network.

        Raises:
            LoraFileError: they belong to other layers, ranks or alphas; nothing was changed.
        """
        expected = self.state()
        # A file has it multiplied in, so what is left of it is 1.
        scales = {name: torch.tensor(1.0) for name in expected if name.endswith(".scalar")}
        tensors = {**scales, **tensors}
        differing = [name for name in {**expected, **tensors} if not _fits(name, expected, tensors)]
        if differing:
            raise LoraFileError(
                "These LoRA weights were not loaded.",
                why=f"They fit another network: {len(differing)} parts differ, such as {differing[0]}.",
                fix="Use the ranks, the alphas and the base model that they were trained with.",
            )
        with torch.no_grad():
            for placed in self.placed:
                for name, weight in placed.layer.trained():
                    weight.copy_(tensors[f"{placed.place.key}.{name}"])


def _fits(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    if name not in expected or name not in found or expected[name].shape != found[name].shape:
        return False
    if name.endswith(".alpha"):
        # Stored at the file's precision, so a hundredth of a part is as equal as it gets.
        return bool(torch.isclose(expected[name].float(), found[name].float().cpu(), rtol=0.01))
    return True


def _given(base: Base, path: Path | None) -> dict[str, Tensor] | None:
    """The LoRA to go on from, under this base model's own names."""
    if path is None:
        return None
    tensors = with_own_names(base, read_lora(path, base.family))
    for name in [name for name in tensors if not name.endswith(".alpha")]:
        # Files of early tools have no alpha; their rank then counts as alpha.
        key = name.partition(".")[0]
        if name.endswith(".lora_down.weight"):
            tensors.setdefault(f"{key}.alpha", torch.tensor(float(len(tensors[name]))))
    return tensors


def _trained_parts(settings: NetworkSettings, base: Base) -> Sequence[str]:
    text = list(text_parts(base))
    if settings.network_train_unet_only and settings.network_train_text_encoder_only:
        what = "Only the image part and only the text part are to be trained, so nothing is left."
        fix = "Turn one of the two off."
        raise SettingsError([Problem(setting="network_train_text_encoder_only", what=what, fix=fix)])
    if settings.network_train_unet_only:
        return [UNET]
    return text if settings.network_train_text_encoder_only else [UNET, *text]


def _sizes_in(tensors: Mapping[str, Tensor]) -> dict[str, Size]:
    """Rank and alpha of each layer of a file, by its key."""
    return {
        name.partition(".")[0]: Size(
            tensor.shape[0], float(tensors[f"{name.partition('.')[0]}.alpha"]) or tensor.shape[0]
        )
        for name, tensor in tensors.items()
        if name.endswith(".lora_down.weight")
    }


def _plain_layers(
    wanted: Sequence[Place],
    settings: NetworkSettings,
    blocks: Blocks,
    sizes: Mapping[str, Size] | None,
    seed: int,
    family: str,
) -> Iterator[Placed]:
    dropout = Dropout(
        settings.network_dropout or 0.0, settings.rank_dropout or 0.0, settings.module_dropout or 0.0
    )
    number = 0
    for place in wanted:
        size = size_of(place, settings, blocks, family) if sizes is None else sizes.get(place.key)
        if size is not None:
            rng = generator(seed, Purpose.NETWORK, number)
            yield Placed(place, LoraLayer(place.module, size, dropout, rng))
            number += 1


def size_of(place: Place, settings: NetworkSettings, blocks: Blocks, family: str) -> Size | None:
    """Rank and alpha of the layer on `place`; None where there is none.

    Linear layers and 1x1 convolutions have `network_dim`, larger kernels `conv_dim`. Residual, down
    and up blocks join in only where there is a rank for convolutions; the time projection and the
    shortcut of a residual block are then at `network_dim`.
    """
    if place.convolutional and settings.conv_dim is None and settings.conv_block_dims is None:
        return None
    if place.part == UNET and blocks.ranks is not None and blocks.alphas is not None:
        number = block_number(place.key, family)
        ranks, alphas = (
            (blocks.ranks, blocks.alphas) if place.small else (blocks.conv_ranks, blocks.conv_alphas)
        )
        if number is None or ranks is None or alphas is None or ranks[number] == 0:
            return None
        return Size(ranks[number], alphas[number] or ranks[number])
    if place.small:
        return Size(settings.network_dim, settings.network_alpha)
    return Size(settings.conv_dim, settings.conv_alpha or 1.0) if settings.conv_dim else None
