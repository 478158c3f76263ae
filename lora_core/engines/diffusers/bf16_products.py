"""Products of bf16 numbers on a processor that has no bf16: worked out in float32, rounded once.

There torch works such products out one number after the other: a linear layer of SD 1.x takes about 35
times as long as in float32. Here each product widens what it takes, uses the float32 kernel, and rounds
its result to bf16. That is what processors with bf16 do: they add up in float32 too. Weights, and all
that is kept for the backward pass, stay in bf16, so memory is that of bf16.

Covered: matrix products, convolutions and attention, forward and backward, in compiled blocks too, in the
thread that enters the context. Not covered: sums, norms and single functions, which torch works out well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_ATEN: Final = torch.ops.aten
_ATTENTION: Final = _ATEN._scaled_dot_product_flash_attention_for_cpu
_OF_MATRICES: Final = (_ATEN.mm, _ATEN.addmm, _ATEN.bmm, _ATEN.baddbmm)
_PRODUCTS: Final = {
    _ATEN.convolution.default,
    _ATEN.convolution_backward.default,
    _ATTENTION.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default,
    *(product.default for product in _OF_MATRICES),
}
_INTO: Final = {product.out: product.default for product in _OF_MATRICES}
"""As compiled code calls them: the result goes into a tensor that is there."""


class Bf16Products(TorchDispatchMode):
    """While entered, products of bf16 tensors are worked out in float32; all else is left alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own is not annotated

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Blocks are compiled as they would be without it; their products pass through it as well."""
        return True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if (func not in _PRODUCTS and func not in _INTO) or not any(map(_is_bf16, args)):
            return func(*args, **named)
        out = named.pop("out", None)
        found = _INTO.get(func, func)(*tree_map_only(Tensor, _widened, args), **named)
        if func is _ATTENTION.default:
            answer, log_sums = found  # these are float32 in either case
            return answer.bfloat16(), log_sums
        return tree_map_only(Tensor, Tensor.bfloat16, found) if out is None else out.copy_(found)


def _is_bf16(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if _is_bf16(tensor) else tensor
