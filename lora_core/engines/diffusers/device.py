"""The device that trains: accelerate's view of it, threads, memory.

Covered: one CPU or one GPU, chosen by accelerate; which precisions it has; weights in 8 bits; how
many CPU threads work. Not covered: several GPUs, which would need pictures to be shared out (see
`batches.py`).
"""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import psutil
import torch
from accelerate import Accelerator
from torch import nn

from lora_core.engines.diffusers.bf16_products import Bf16Products
from lora_core.errors import Problem
from lora_core.settings import PrecisionSettings, RunConfig

if sys.platform != "win32":
    import resource

THREADS_VARIABLE: Final = "LORA_THREADS"
_SMALL_MODEL: Final = 20_000_000
"""Below this, threads wait longer for each other than they work: the demo's 3.7 million weights take 0.16 s
a step on one thread and 0.22 s on two (two cores, a page open beside it)."""
_MIB: Final = 2**20


def use_threads(weights: int) -> None:
    """Fix the number of CPU threads: `LORA_THREADS`, else what `OMP_NUM_THREADS` said, else by the model.

    A UNet of fewer than `_SMALL_MODEL` weights gets one, a larger one as many as there are cores. Two
    threads on one core wait for each other in matrix products, so hyper-threads do not count.
    """
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if wanted.isdigit() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))
    elif "OMP_NUM_THREADS" not in os.environ:
        cores = max(1, min(psutil.cpu_count(logical=False) or 1, _allowed_cpus()))
        torch.set_num_threads(1 if weights < _SMALL_MODEL else cores)


def _allowed_cpus() -> int:
    # A container may have fewer than the machine; only Linux can tell.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def new_accelerator(run: RunConfig, folder: Path) -> Accelerator:
    """accelerate on this machine's best device; its TensorBoard tracker will write into `folder`."""
    return Accelerator(
        mixed_precision=run.precision.mixed_precision,
        gradient_accumulation_steps=run.batch.gradient_accumulation_steps,
        log_with="tensorboard",
        project_dir=folder,
    )


def device_problems(run: RunConfig) -> list[Problem]:
    """What `run` asks for and this machine lacks; advice where it would only be slow."""
    precision, found = run.precision, list[Problem]()
    if precision.mixed_precision == "fp16" and not torch.cuda.is_available():
        what = "fp16 needs a GPU with CUDA, and this machine has none that torch can use."
        found.append(Problem(setting="mixed_precision", what=what, fix="Set mixed_precision to no."))
    if precision.fp8_base and not torch.cuda.is_available():
        what = "Weights in 8 bits need a GPU with CUDA, and this machine has none that torch can use."
        found.append(Problem(setting="fp8_base", what=what, fix="Turn fp8_base off."))
    if precision.mixed_precision == "bf16" and not _has_bf16():
        what = "This machine has no bf16 of its own. It takes less memory than float32, and no less time."
        fix = "Set mixed_precision to no, unless memory is short."
        found.append(Problem(setting="mixed_precision", what=what, fix=fix, severity="advice"))
    return found


def products(precision: PrecisionSettings) -> AbstractContextManager[object]:
    """How products are worked out while a run trains: as torch does it, but see `bf16_products.py`."""
    slow = precision.mixed_precision == "bf16" and not (torch.accelerator.is_available() or _has_bf16())
    return Bf16Products() if slow else nullcontext()


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.accelerator.is_available():
        return True  # the others that torch knows have it, or say so themselves
    has = torch.cpu.get_capabilities()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def shrink_to_8_bits(unet: nn.Module) -> None:
    """Keep the frozen weights of the UNet's blocks as float8; autocast works with them in 16 bits.

    Norms, biases and the small layers at both ends stay as they are: together they are less than a
    hundredth of the memory, and the most sensitive. Half of what is saved comes back while a step
    is worked on, unless gradient checkpointing is on.
    """
    for name, module in unet.named_modules():
        inside = name.startswith(("down_blocks.", "mid_block.", "up_blocks."))
        if inside and isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(torch.float8_e4m3fn)


def memory_mib(device: torch.device) -> float:
    """Most memory of the GPU that was in use so far; on a CPU, the memory of this process now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    return float(psutil.Process().memory_info().rss) / _MIB


def peak_gpu_mib(device: torch.device) -> float | None:
    """Most GPU memory that torch has taken from the card so far; None where it cannot tell.

    What it took is more than what tensors used: the rest is kept for later and is there for nobody else.
    """
    return torch.cuda.max_memory_reserved(device) / _MIB if device.type == "cuda" else None


def peak_ram_mib() -> float | None:
    """Most memory that this process had at any time; None where the system does not tell."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / _MIB
    # Linux counts in KiB, macOS in bytes. A process that was forked begins with its parent's peak.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) / (_MIB if sys.platform == "darwin" else 1024)
