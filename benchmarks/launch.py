"""Run a trainer as its own command does, and say at the end how much GPU memory it took.

    python -m benchmarks.launch [--memory-limit-gb GB] TRAINER ARGUMENTS...

TRAINER is a module, or the path of a script. Nothing of the trainer is changed. With a limit, torch
refuses to take more GPU memory than that, so that a trainer that needs more ends with an error.

This also runs in the alternatives' own environment, so it uses torch and the standard library only.
"""

import importlib.util
import os
import runpy
import sys
from pathlib import Path
from typing import Final

PEAK: Final = "benchmark peak GPU bytes:"
_OPERATORS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def main() -> None:
    import torch

    arguments = sys.argv[1:]
    if arguments[0] == "--memory-limit-gb":
        _limit(float(arguments[1]))
        arguments = arguments[2:]
    trainer, sys.argv = arguments[0], arguments
    try:
        if trainer.endswith(".py"):
            _run_script(Path(trainer))
        else:
            runpy.run_module(trainer, run_name="__main__", alter_sys=True)
    finally:
        if torch.cuda.is_available():
            print(PEAK, torch.cuda.max_memory_allocated(), flush=True)


def _run_script(script: Path) -> None:
    import torch

    os.chdir(script.parent)
    sys.path.insert(0, str(script.parent))
    # PyPI's torchvision is built for CUDA. Beside a CPU build of torch its operators are missing and its
    # import fails, though no trainer here calls them: so they are declared.
    library = torch.library.Library("torchvision", "FRAGMENT")
    if not torch.cuda.is_available() and importlib.util.find_spec("torchvision"):
        for operator in _OPERATORS:
            library.define(operator)
    runpy.run_path(str(script), run_name="__main__")


def _limit(gigabytes: float) -> None:
    import torch

    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / card))


if __name__ == "__main__":
    main()
