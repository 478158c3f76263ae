"""What this trainer understood of a run's files: the values that count, for people and for programs.

Covered: each setting that this trainer has and that acts beside the others, after reading both files and
filling in starting values. Not covered: whether it would start such a run (see `checks.py`). Loads no torch.
"""

import json
from pathlib import Path
from typing import Any

from lora_core.settings import (
    BUILT_IN,
    RunConfig,
    acts,
    further_arguments,
    placed_values,
    prompt_lines,
    value_in,
)

_LISTS = ("optimizer_args", "lr_scheduler_args")


def understood(run: RunConfig) -> dict[str, Any]:
    """The values of a run by their keys; those of the images as a list of datasets with their subsets.

    Prompts are the lines that samples are drawn from.

    Raises:
        SettingsError: the file of prompts cannot be read.
    """
    value_of = value_in(run)
    whole: dict[str, Any] = {}
    datasets: list[dict[str, Any]] = [
        {"subsets": [{} for _ in dataset.subsets]} for dataset in run.dataset.datasets
    ]
    for placed in placed_values(run):
        s = placed.setting
        if BUILT_IN not in s.engines or not acts(s, value_of):
            continue
        if placed.dataset is None:
            whole[s.key] = placed.value
        elif placed.subset is None:
            datasets[placed.dataset][s.key] = placed.value
        else:
            datasets[placed.dataset]["subsets"][placed.subset][s.key] = placed.value
    prompts = run.sampling.sample_prompts
    if prompts is not None and not (
        isinstance(prompts, Path) and prompts.suffix.lower() in {".toml", ".json"}
    ):
        whole["sample_prompts"] = prompt_lines(run)
    further = {name: items for name in _LISTS if (items := further_arguments(run, name))}
    return {**whole, **further, "datasets": datasets}


def as_text(run: RunConfig) -> str:
    """The same as one line of JSON; a number reads back as the number that counts."""
    return json.dumps(understood(run), ensure_ascii=False, default=str)
