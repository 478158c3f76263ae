"""Sample pictures of a run: which there are, read from sd-scripts' file names.

Covered: step, prompt and seed of each picture. Not covered: what the prompts say (the run's
sample prompts file, line by line), and the pictures themselves.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# sd-scripts at 48d368f, train_util.sample_images: NAME_STEP_PROMPT_TIME[_SEED].png, where STEP is
# e000001 after an epoch and 000100 after a step.
_NAME: Final = re.compile(
    r"^(?:(?P<name>.+)_)?(?:e(?P<epoch>\d{6})|(?P<step>\d{6,}))_(?P<prompt>\d{2,})"
    r"_(?P<made>\d{14})(?:_(?P<seed>\d+))?\.png$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A picture that a run drew to show what it has learned."""

    path: Path
    prompt: int
    """Index of its prompt, from 0."""
    step: int | None
    """Optimizer step; None for one that was drawn at the end of an epoch."""
    epoch: int | None
    made: str
    """YYYYmmddHHMMSS, local time of the machine that trained."""
    seed: int | None


def samples(folder: Path) -> list[Sample]:
    """The samples of the run in `folder`, oldest first, prompts in order; other files are left out."""
    try:
        names = [entry.name for entry in (folder / "samples").iterdir()]
    except OSError:
        return []
    found = [sample for name in names if (sample := _read(folder / "samples" / name)) is not None]
    return sorted(found, key=lambda sample: (sample.made, sample.step or 0, sample.prompt, sample.path.name))


def _read(path: Path) -> Sample | None:
    match = _NAME.match(path.name)
    if match is None:
        return None
    part = match.groupdict()
    return Sample(
        path=path,
        prompt=int(part["prompt"]),
        step=int(part["step"]) if part["step"] else None,
        epoch=int(part["epoch"]) if part["epoch"] else None,
        made=part["made"],
        seed=int(part["seed"]) if part["seed"] else None,
    )


def latest_of_first_prompt(folder: Path) -> Path | None:
    """The newest picture of the first prompt: the run's face in lists."""
    first = [sample for sample in samples(folder) if sample.prompt == 0]
    return first[-1].path if first else None
