"""How many bytes of tensors are alive, operation by operation, without a byte of them being there.

torch's fake tensors have shapes and dtypes but no memory, and run whatever real ones run: forward,
backward, optimizer. `LiveBytes` counts each storage when an operation makes it, and again when the
last tensor that uses it is gone. So sizes that no machine here could hold are counted exactly.

Covered: the tensors. Not covered: what the allocator rounds up, memory inside kernels (cuDNN's
workspaces), the CUDA context, and choices that CUDA makes other than the CPU, but for norms.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations inside it make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has not typed it
        self.now = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        # A view has the storage of what it looks at, and an operation in place that of its operand.
        key = storage._cdata
        if key in self._known:
            return
        size = int(storage.nbytes())

        def gone(_: object) -> None:
            self._known.pop(key, None)
            self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def norms_as_on_cuda(network: Any) -> None:
    """Let a network normalise in float32, as autocast does on CUDA and not on a CPU; it takes more memory."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(_group_norm, module)  # type: ignore[method-assign]  # of this one module
        elif isinstance(module, nn.LayerNorm):
            module.forward = partial(_layer_norm, module)  # type: ignore[method-assign]  # the same


def _group_norm(module: nn.GroupNorm, values: Tensor) -> Tensor:
    weight, bias = module.weight.float(), module.bias.float()
    return nn.functional.group_norm(values.float(), module.num_groups, weight, bias, module.eps)


def _layer_norm(module: nn.LayerNorm, values: Tensor) -> Tensor:
    shape = list(module.normalized_shape)
    return nn.functional.layer_norm(
        values.float(), shape, module.weight.float(), module.bias.float(), module.eps
    )


@contextmanager
def counting() -> Iterator[LiveBytes]:
    """Fake tensors inside, counted."""
    with FakeTensorMode(), LiveBytes() as live:
        yield live


def made_fake(network: Any) -> None:
    """Give a network from the meta device fake weights on the CPU; call it inside `counting`."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
