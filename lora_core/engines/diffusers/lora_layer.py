"""One plain LoRA layer (Hu et al., 2021): what it adds to a linear layer or a convolution.

Written here and not taken from PEFT for three reasons: sd-scripts' three kinds of dropout act
between down and up, where PEFT has no place for them; PEFT scales the whole output where this scales
the few numbers in between; and PEFT puts every input into float32 before it, which under mixed
precision keeps a copy of it for each layer.

Covered: forward, start, dropouts, the norm limit, all with sd-scripts' meaning (`networks.lora` at
48d368f). Not covered: LoHa, LoKr and DoRA (see `network_lycoris.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DOWN: Final = "lora_down.weight"
UP: Final = "lora_up.weight"


@dataclass(frozen=True, slots=True)
class Size:
    """Rank and alpha of one layer; what it learned is scaled by alpha / rank."""

    rank: int
    alpha: float


@dataclass(frozen=True, slots=True)
class Dropout:
    """Chances, from 0 to below 1, that something is left out while training."""

    neuron: float = 0.0
    """Each number between down and up; the others are raised to make up for it."""
    rank: float = 0.0
    """Each rank, for a whole picture or caption; the others are raised to make up for it."""
    module: float = 0.0
    """The whole layer."""

    def __bool__(self) -> bool:
        return bool(self.neuron or self.rank or self.module)


class LoraLayer(nn.Module):
    """Adds `scale * up(down(x))` to what a module answers."""

    def __init__(self, module: Any, size: Size, dropout: Dropout, rng: np.random.Generator) -> None:
        """A layer that changes nothing yet: the down weights are drawn from `rng`, the up weights zero.

        The spread of the down weights is that of He et al. (2015) with slope sqrt(5), which torch
        gives a linear layer.
        """
        super().__init__()
        self._host = [module]  # in a list, so that torch does not take it for a part of this layer
        self._answer = module.forward
        self._dropout = dropout
        self.alpha, self.scale = size.alpha, size.alpha / size.rank
        inputs, kernel = module.weight.shape[1:], module.weight.shape[2:]
        # kaiming_uniform with slope sqrt(5) is uniform within 1 / sqrt(inputs of one output).
        bound = 1 / math.sqrt(math.prod(inputs))
        drawn = rng.uniform(-bound, bound, size=(size.rank, *inputs)).astype(np.float32)
        self.down = nn.Parameter(torch.from_numpy(drawn))
        """(rank, inputs), or (rank, inputs, height, width) for a convolution."""
        self.up = nn.Parameter(torch.zeros(module.weight.shape[0], size.rank, *(1 for _ in kernel)))
        """(outputs, rank), or (outputs, rank, 1, 1) for a convolution."""

    def attach(self) -> None:
        """Let the module answer through this layer."""
        self._answer = self._host[0].forward
        self._host[0].forward = self.forward

    def forward(self, x: Tensor) -> Tensor:
        """`x` as the module takes it."""
        answer: Tensor = self._answer(x)
        dropout = self._dropout
        if self.training and dropout.module and float(torch.rand(1)) < dropout.module:
            return answer
        low = self._down(x)
        if self.training and dropout:
            low = self._dropped(low)
        return self._added(answer, low)

    def _down(self, x: Tensor) -> Tensor:
        host, weight = self._host[0], self.down.to(x.dtype)
        if isinstance(host, nn.Conv2d):
            return functional.conv2d(x, weight, stride=host.stride, padding=host.padding)
        return functional.linear(x, weight)

    def _added(self, answer: Tensor, low: Tensor) -> Tensor:
        """`answer + scale * up(low)`; for a linear module in one product, without a tensor in between."""
        weight = self.up.to(low.dtype)
        if weight.dim() == 4:
            return answer + functional.conv2d(low * self.scale, weight)
        if answer.dtype != low.dtype:
            return answer + functional.linear(low * self.scale, weight)
        product = torch.addmm(answer.flatten(0, -2), low.flatten(0, -2), weight.T, alpha=self.scale)
        return product.view_as(answer)

    def _dropped(self, low: Tensor) -> Tensor:
        if self._dropout.neuron:
            low = functional.dropout(low, self._dropout.neuron)
        if chance := self._dropout.rank:
            kept = torch.rand(len(low), self.down.shape[0], device=low.device) > chance
            # One decision for a sample and a rank: ranks are the last axis, or the second of a picture.
            shape = (
                (*kept.shape, 1, 1) if low.dim() == 4 else (len(low), *(1,) * (low.dim() - 2), kept.shape[1])
            )
            low = low * kept.view(shape) / (1 - chance)
        return low

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trained weights, by the ends of their names in a file."""
        yield DOWN, self.down
        yield UP, self.up

    def contents(self) -> dict[str, Tensor]:
        """All that a file holds of this layer, by the ends of the names."""
        return {"alpha": torch.tensor(self.alpha), DOWN: self.down.detach(), UP: self.up.detach()}

    @torch.no_grad()
    def limit_norm(self, most: float) -> None:
        """Shrink both weights alike where the norm of what they add is above `most`.

        This is sd-scripts' `apply_max_norm_regularization`. Nothing is read back from a GPU.
        """
        down, up = self.down.flatten(1), self.up.flatten(1)
        # The Frobenius norm of up @ down, without the large product: the trace of two small ones.
        norm = ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt() * abs(self.scale)
        ratio = (most / norm).clamp(max=1).sqrt()
        self.down.mul_(ratio)
        self.up.mul_(ratio)
