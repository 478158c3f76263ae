"""What the chosen engine would refuse of a run, and for which family of base models it is asked.

Covered: the built-in engine by its own checks, sd-scripts by its table of conflicts, whether it is here
or not. Not covered: images, files and the machine (see `checks.py`).
"""

from collections.abc import Iterable
from dataclasses import replace

from lora_core import engines
from lora_core.errors import ModelError, Problem
from lora_core.models import inspect_base
from lora_core.settings import SD_SCRIPTS, RunConfig
from lora_core.settings.conflicts import family_in, read_over, sd_scripts_problems


def refused(run: RunConfig, engine: str, family: str | None) -> list[Problem]:
    """What `engine` says about the settings of `run`.

    Raises:
        EngineError: there is no such engine.
    """
    if engine == SD_SCRIPTS:
        return sd_scripts_problems(run, family)
    return engines.get(engine).check(run)


def idle_in(run: RunConfig, engine: str, family: str | None, told: Iterable[Problem]) -> list[Problem]:
    """Values that sd-scripts does not use and that nothing was told of; the built-in engine tells its own."""
    if engine != SD_SCRIPTS:
        return []
    settings = {problem.setting for problem in told}
    return [problem for problem in read_over(run, family) if problem.setting not in settings]


def as_told_of(engine: str, problems: Iterable[Problem]) -> list[Problem]:
    """`problems` that stop the built-in engine alone, as advice where another engine is asked."""
    return [replace(problem, severity="advice") if engine == SD_SCRIPTS else problem for problem in problems]


def family_for(run: RunConfig, engine: str) -> str | None:
    """The family of the base model; for sd-scripts also where only the settings tell it."""
    if engine != SD_SCRIPTS:
        return None
    try:
        return inspect_base(run.model.pretrained_model_name_or_path).family
    except ModelError:  # another family than those that the app itself can look into
        return family_in(run)
