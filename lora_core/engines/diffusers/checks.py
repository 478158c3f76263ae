"""What the built-in trainer refuses, by name and before anything is loaded.

Covered: settings that it lacks or takes in part, a base model that it cannot train, samples without
prompts. Loads no torch, so pages may call it. Not covered: what no engine could do and what is
merely unwise (see `lora_core.planning`), and the pictures themselves.
"""

import re
from typing import Final

from lora_core.engines.diffusers.checks_data import data_problems
from lora_core.engines.diffusers.checks_idle import idle_problems
from lora_core.engines.diffusers.checks_learning import learning_problems
from lora_core.engines.diffusers.checks_model import model_problems
from lora_core.engines.diffusers.checks_network import network_problems
from lora_core.engines.diffusers.prompts import read_prompts
from lora_core.errors import Problem, SettingsError
from lora_core.settings import BUILT_IN, RunConfig, idle, name_problem, unsupported

_RESERVED_NAME: Final = re.compile(r"-(\d{6}|step\d{8})$")


def problems(run: RunConfig) -> list[Problem]:
    """Every reason why this trainer would not start this run."""
    return [
        *unsupported(run, BUILT_IN),
        *idle(run),
        *model_problems(run),
        *_name(run),
        *network_problems(run),
        *learning_problems(run),
        *_samples(run),
        *data_problems(run),
        *idle_problems(run),
    ]


def _name(run: RunConfig) -> list[Problem]:
    name = run.saving.output_name
    if (problem := name_problem(name)) is not None:
        return [problem]
    if _RESERVED_NAME.search(name):
        what = f"The name {name} ends like the number that is added to saves in between."
        return [Problem(setting="output_name", what=what, fix="Choose a name with another ending.")]
    return []


def _samples(run: RunConfig) -> list[Problem]:
    sampling = run.sampling
    wanted = sampling.sample_every_n_epochs or sampling.sample_every_n_steps
    if wanted and not sampling.sample_prompts:
        return [
            Problem(
                setting="sample_prompts",
                what="Samples are to be drawn, but there is no prompt.",
                fix="Write at least one prompt, or leave the samples out.",
                mend={"sample_every_n_epochs": None, "sample_every_n_steps": None},
                mend_label="Draw no samples",
            )
        ]
    try:
        read_prompts(run)
    except SettingsError as error:  # a file that cannot be opened at all is told by `lora_core.planning`
        return list(error.problems)
    return []
