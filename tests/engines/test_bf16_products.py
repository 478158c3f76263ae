"""bf16 on a processor that has none: the same answers as torch's own bf16 kernels, in bf16's memory.

Not covered: how much faster it is (see `benchmarks/training_step.py`).
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lora_core.engines.diffusers.bf16_products import Bf16Products
from lora_core.engines.diffusers.device import products
from lora_core.settings import PrecisionSettings

PRODUCTS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "linear": (functional.linear, [(2, 7, 16), (24, 16), (24,)]),
    "linear without bias": (functional.linear, [(2, 7, 16), (24, 16)]),
    "convolution": (lambda x, w, b: functional.conv2d(x, w, b, 2, 1), [(2, 8, 9, 9), (12, 8, 3, 3), (12,)]),
    "attention": (functional.scaled_dot_product_attention, [(2, 2, 10, 8), (2, 2, 7, 8), (2, 2, 7, 8)]),
    "batches": (torch.matmul, [(3, 5, 8), (3, 8, 6)]),
    "batches added": (torch.baddbmm, [(3, 5, 6), (3, 5, 8), (3, 8, 6)]),
}


def values(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=rng).bfloat16() for shape in shapes]


def answers(product: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """The product, and the gradient of each of its inputs."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    found = product(*leaves)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).reshape(found.shape)
    (found * weights.to(found.dtype)).sum().backward()
    return [found.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_and_its_gradients_are_as_near_to_the_truth_as_torchs_own(name: str) -> None:
    product, shapes = PRODUCTS[name]
    inputs = values(shapes)
    with Bf16Products():
        found = answers(product, inputs)
    own = answers(product, inputs)
    exact = answers(product, [each.double() for each in inputs])
    assert len(found) == 1 + len(inputs)
    for mine, torchs, truth in zip(found, own, exact, strict=True):
        assert mine.dtype == torchs.dtype == torch.bfloat16
        scale = float(truth.abs().max())
        assert float((mine - truth).abs().max()) <= float((torchs - truth).abs().max()) + scale / 512
    assert float(found[0].abs().max()) > 0.5, "there is something to compare"


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_other_numbers_are_left_alone(name: str) -> None:
    product, shapes = PRODUCTS[name]
    inputs = [each.float() for each in values(shapes)]
    with Bf16Products():
        found = answers(product, inputs)
    assert all(map(torch.equal, found, answers(product, inputs)))


def test_a_result_may_go_into_a_tensor_that_is_there_as_in_compiled_code() -> None:
    left, right, added = values([(5, 8), (8, 6), (6,)])
    with Bf16Products():
        plain, sums = torch.empty(5, 6).bfloat16(), torch.empty(5, 6).bfloat16()
        assert torch.mm(left, right, out=plain) is plain
        torch.addmm(added, left, right, out=sums)
        assert torch.equal(plain, left @ right)
        assert torch.equal(sums, torch.addmm(added, left, right))


def test_nothing_is_kept_in_float32_for_the_way_back() -> None:
    kept: list[torch.dtype] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.dtype)
        return tensor

    inputs, weights = (each.requires_grad_() for each in values([(4, 16), (24, 16)]))
    with Bf16Products(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        functional.linear(inputs, weights)
    assert set(kept) == {torch.bfloat16}


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(16, 24)

    def forward(self, given: Tensor) -> Tensor:
        found: Tensor = self.linear(given).relu()
        return found


def test_a_module_can_still_be_compiled() -> None:
    graphs: list[Any] = []

    def watched(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    block = Block().bfloat16()
    block.compile(backend=watched)
    (given,) = values([(3, 16)])
    with Bf16Products():
        assert torch.equal(block(given), block.forward(given))
    assert len(graphs) == 1, "torch passed the module by"


@pytest.mark.parametrize(
    ("precision", "has", "used"), [("bf16", False, True), ("bf16", True, False), ("no", False, False)]
)
def test_only_bf16_where_the_processor_has_none_takes_this_way(
    monkeypatch: pytest.MonkeyPatch, precision: str, has: bool, used: bool
) -> None:
    monkeypatch.setattr("lora_core.engines.diffusers.device._has_bf16", lambda: has)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    settings = PrecisionSettings.model_validate({"mixed_precision": precision})
    assert isinstance(products(settings), Bf16Products) is used
