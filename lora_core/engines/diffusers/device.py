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


def memory_mib(device: torch.device) -> float:
    """Most memory of the GPU that was in use so far; on a CPU, the memory of this process now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    return float(psutil.Process().memory_info().rss) / _MIB
