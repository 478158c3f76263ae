"""The device that trains: accelerate's view of it, threads, memory.

Covered: one CPU or one GPU, chosen by accelerate; how many CPU threads work. Not covered: several
GPUs, which would need pictures to be shared out (see `batches.py`).
"""

import os
from pathlib import Path
from typing import Final

import psutil
import torch
from accelerate import Accelerator

from lora_core.settings import RunConfig

THREADS_VARIABLE: Final = "LORA_THREADS"
_MIB: Final = 2**20


def use_threads() -> None:
    """Fix the number of CPU threads: `LORA_THREADS`, else what `OMP_NUM_THREADS` said, else one a core.

    Two threads on one core wait for each other in matrix products, so hyper-threads do not count.
    """
    wanted = os.environ.get(THREADS_VARIABLE, "")
    if wanted.isdigit() and int(wanted) > 0:
        torch.set_num_threads(int(wanted))
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(psutil.cpu_count(logical=False) or 1, _allowed_cpus())))


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


def memory_mib(device: torch.device) -> float:
    """Most memory of the GPU that was in use so far; on a CPU, the memory of this process now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    return float(psutil.Process().memory_info().rss) / _MIB
